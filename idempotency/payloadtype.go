package idempotency

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"unicode"
)

// CheckPayload reports what of a type's values encoding/json would lose, or could
// not read back: each field by its path. It returns nil for a type whose values
// come back as they were written.
//
// interfaces is asked about each interface type that values of the type may hold.
// It returns the types that may stand there, which are checked too, or an error;
// no types and no error mean that the interface holds plain JSON values. When
// interfaces is nil, only interfaces without methods hold those, and any other is
// reported.
func CheckPayload(t reflect.Type, interfaces func(reflect.Type) ([]reflect.Type, error)) error {
	_, err := walkPayload(t, interfaces)
	return err
}

func walkPayload(t reflect.Type, interfaces func(reflect.Type) ([]reflect.Type, error)) (plain bool, err error) {
	if interfaces == nil {
		interfaces = plainInterfaces
	}
	w := &payloadWalk{interfaces: interfaces, seen: map[place]bool{}}
	// What is encoded is addressable, see encode.
	w.walk(place{t, true}, "")
	if len(w.faults) > 0 {
		return w.plain, fmt.Errorf("values of %s can't be stored as JSON and read back: %w", t, errors.Join(w.faults...))
	}
	return w.plain, nil
}

func plainInterfaces(t reflect.Type) ([]reflect.Type, error) {
	if t.NumMethod() > 0 {
		return nil, errors.New("JSON does not tell which type to read into it")
	}
	return nil, nil
}

// A place is a type where its values are addressable, or are not. encoding/json
// calls methods of pointers only where they are.
type place struct {
	reflect.Type
	addressable bool
}

type payloadWalk struct {
	interfaces func(reflect.Type) ([]reflect.Type, error)
	seen       map[place]bool
	faults     []error
	plain      bool
}

func (w *payloadWalk) fault(path, format string, args ...any) {
	if path == "" {
		path = "it"
	}
	w.faults = append(w.faults, fmt.Errorf("%s "+format, append([]any{strings.TrimPrefix(path, ".")}, args...)...))
}

// walk looks at the type, which values have at the path. Each type is looked at
// once: its faults are reported where it was met first.
func (w *payloadWalk) walk(t place, path string) {
	if w.seen[t] {
		return
	}
	w.seen[t] = true
	if w.ownForm(t, path) {
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		w.walk(place{t.Elem(), true}, path)
	case reflect.Slice:
		w.walk(place{t.Elem(), true}, path+"[]")
	case reflect.Array:
		w.walk(place{t.Elem(), t.addressable}, path+"[]")
	case reflect.Map:
		if !isMapKey(t.Key()) {
			w.fault(path, "is a map with keys of type %s, which JSON does not have", t.Key())
		}
		w.walk(place{t.Elem(), false}, path+"[]")
	case reflect.Struct:
		w.structure(t, path)
	case reflect.Interface:
		w.abstract(t, path)
	case reflect.Func, reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		w.fault(path, "is of type %s, which JSON can't hold", t)
	}
}

func (w *payloadWalk) abstract(t place, path string) {
	types, err := w.interfaces(t.Type)
	switch {
	case err != nil:
		w.fault(path, "is of the interface type %s: %w", t, err)
	case len(types) == 0:
		w.plain = true
	}
	for _, member := range types {
		w.walk(place{member, false}, fmt.Sprintf("%s.(%s)", path, member))
	}
}

// structure looks at the fields, those of embedded structs among them.
func (w *payloadWalk) structure(t place, path string) {
	named := map[string]string{}
	for _, field := range w.fields(t, path, nil) {
		if other, taken := named[field.name]; taken {
			w.fault(field.path, "has the same JSON name, %q, as %s", field.name, strings.TrimPrefix(other, "."))
			continue
		}
		named[field.name] = field.path
		w.walk(field.place, field.path)
	}
}

// A payloadField is a field that encoding/json writes.
type payloadField struct {
	place
	name, path string
}

// fields returns the fields that encoding/json writes of the struct, but does not
// choose between those of the same name. within has the structs that embed it.
func (w *payloadWalk) fields(t place, path string, within []reflect.Type) []payloadField {
	var fields []payloadField
	for i := range t.NumField() {
		field := t.Field(i)
		fieldPath := path + "." + field.Name
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		embedded, isPointer := field.Type, field.Type.Kind() == reflect.Pointer
		if isPointer {
			embedded = embedded.Elem()
		}
		inline := field.Anonymous && embedded.Kind() == reflect.Struct
		switch {
		case field.Name == "_" || field.Type.Size() == 0 && !field.IsExported():
			// It holds nothing.
		case field.Tag.Get("json") == "-":
			w.fault(fieldPath, `is tagged json:"-", so it is lost`)
		case !field.IsExported() && !inline:
			w.fault(fieldPath, "is not exported, so it is lost")
		case !field.IsExported() && isPointer:
			w.fault(fieldPath, "is a pointer that is not exported, so JSON can't read into it")
		case inline && !isTagName(name):
			if inner := (place{embedded, isPointer || t.addressable}); !slices.Contains(within, embedded) {
				fields = append(fields, w.fields(inner, fieldPath, append(within, t.Type))...)
			}
		case isTagName(name):
			fields = append(fields, payloadField{place{field.Type, t.addressable}, name, fieldPath})
		default:
			fields = append(fields, payloadField{place{field.Type, t.addressable}, field.Name, fieldPath})
		}
	}
	return fields
}

// isTagName says whether encoding/json takes the name that a tag gives.
func isTagName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

func isMapKey(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return true
	}
	return t.Kind() != reflect.Interface && t.Implements(textMarshaler) && reflect.PointerTo(t).Implements(textUnmarshaler)
}

var (
	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// ownForm says whether the type writes a form of its own. Then it has to read it
// too, and what is inside is not looked at.
func (w *payloadWalk) ownForm(t place, path string) bool {
	pointer := reflect.PointerTo(t.Type)
	var method string
	switch {
	case t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface:
		return false
	case pointer.Implements(jsonMarshaler):
		method = "MarshalJSON"
	case pointer.Implements(textMarshaler):
		method = "MarshalText"
	default:
		return false
	}
	switch {
	case !t.addressable && !t.Implements(jsonMarshaler) && !t.Implements(textMarshaler):
		w.fault(path, "is of type %s and not a pointer to it, so its %s is not called", t, method)
	case !pointer.Implements(jsonUnmarshaler) && !pointer.Implements(textUnmarshaler):
		w.fault(path, "is of type %s, which has %s and no method that reads what that writes", t, method)
	case t.Kind() == reflect.Struct && t.NumField() > 1 && promotes(t.Type):
		w.fault(path, "is of type %s, whose %s is that of a struct embedded in it, so its other fields are lost", t, method)
	}
	return true
}

// promotes says whether the method that writes the struct's JSON is one of a
// struct embedded in it. The compiler writes the outer one then, in no file.
func promotes(t reflect.Type) bool {
	if !t.Implements(jsonMarshaler) && !t.Implements(textMarshaler) {
		t = reflect.PointerTo(t)
	}
	method, ok := t.MethodByName("MarshalJSON")
	if !ok {
		method, _ = t.MethodByName("MarshalText")
	}
	pc := method.Func.Pointer()
	file, _ := runtime.FuncForPC(pc).FileLine(pc)
	return file == "<autogenerated>"
}
