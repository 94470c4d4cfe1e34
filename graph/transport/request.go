package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
	"github.com/go-json-experiment/json/jsontext"
)

// The members of a request's body, and the parameters of its query string.
const (
	memberQuery         = "query"
	memberOperationName = "operationName"
	memberVariables     = "variables"
	memberExtensions    = "extensions"
)

// checkContent refuses every body but plain JSON in UTF-8. The media type is also
// what keeps other sites' forms out: a browser sends application/json to another
// origin only after asking it.
func checkContent(header http.Header) *refusal {
	for _, coding := range header.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return badInput(http.StatusUnsupportedMediaType, "the body must not be compressed or otherwise encoded").
				header("Accept-Encoding", "identity")
		}
	}
	types := header.Values("Content-Type")
	if len(types) == 1 && types[0] == applicationJSON {
		return nil
	}
	if len(types) == 1 {
		mediaType, parameters, err := mime.ParseMediaType(types[0])
		charset, set := parameters["charset"]
		if err == nil && mediaType == applicationJSON && (!set || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return badInput(http.StatusUnsupportedMediaType, "the body must be "+applicationJSON+" in UTF-8, and its Content-Type must say so")
}

// readQuery reads the query string of a GET.
func readQuery(raw string, maxValues int) (*graphql.RawParams, *refusal) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badInput(http.StatusBadRequest, "the query string is malformed")
	}
	for _, name := range []string{memberQuery, memberOperationName, memberVariables, memberExtensions} {
		given := values[name]
		if len(given) > 1 {
			return nil, badInput(http.StatusBadRequest, "the parameter `"+name+"` occurs twice")
		}
		if len(given) == 1 && !utf8.ValidString(given[0]) {
			return nil, badInput(http.StatusBadRequest, "the parameter `"+name+"` is not valid UTF-8")
		}
	}
	// The document may be kept: it must not keep the whole query string.
	params := &graphql.RawParams{Query: strings.Clone(values.Get(memberQuery)), OperationName: values.Get(memberOperationName)}
	var refusal *refusal
	if params.Variables, refusal = readParameter(values, memberVariables, maxValues); refusal != nil {
		return nil, refusal
	}
	if params.Extensions, refusal = readParameter(values, memberExtensions, maxValues); refusal != nil {
		return nil, refusal
	}
	if !values.Has(memberQuery) || params.Query == "" && params.Extensions["persistedQuery"] != nil {
		return nil, withoutQuery(params.Extensions, "the parameter `query` is required")
	}
	return params, nil
}

// readParameter takes an empty parameter for an absent one, as the specification
// does since its edition of September 2026.
func readParameter(values url.Values, name string, maxValues int) (map[string]any, *refusal) {
	text := values.Get(name)
	if text == "" {
		return nil, nil
	}
	return decodeParameter(name, text, maxValues)
}

// maxDepth is how deep objects and arrays may nest in a request.
const maxDepth = 100

var (
	errType   = errors.New("of another type")
	errDepth  = errors.New("nested too deeply")
	errValues = errors.New("too many values")
)

// A valueDecoder reads so many values and no more.
type valueDecoder struct {
	*jsontext.Decoder
	left int
}

func (t Transport) maxValues() int {
	if t.MaxValues == 0 {
		return DefaultMaxValues
	}
	return t.MaxValues
}

// count counts a value that begins.
func (d *valueDecoder) count() error {
	if d.left--; d.left < 0 {
		return errValues
	}
	return nil
}

// decodeBody reads the one JSON object that a body must be. jsontext refuses
// duplicate members, invalid UTF-8 and lone surrogates at every depth; the
// members that GraphQL does not know are read the same way and passed over.
func decodeBody(body *bytes.Buffer, maxValues int) (*graphql.RawParams, *refusal) {
	const what = "the body"
	decoder := &valueDecoder{jsontext.NewDecoder(body), maxValues}
	if decoder.PeekKind() == '[' {
		return nil, badInput(http.StatusBadRequest, "the body must be one JSON object; batches are not served")
	}
	var params graphql.RawParams
	hasQuery := false
	err := eachMember(decoder, func(name string) (err error) {
		switch name {
		case memberQuery:
			params.Query, hasQuery, err = readString(decoder)
		case memberOperationName:
			params.OperationName, _, err = readString(decoder)
		case memberVariables:
			params.Variables, err = readObject(decoder)
		case memberExtensions:
			params.Extensions, err = readObject(decoder)
		default:
			return skip(decoder)
		}
		if errors.Is(err, errType) {
			return &memberError{name}
		}
		return err
	})
	if err == nil {
		err = atEnd(decoder)
	}
	if err != nil {
		return nil, malformed(what, err, maxValues)
	}
	if !hasQuery || params.Query == "" && params.Extensions["persistedQuery"] != nil {
		return nil, withoutQuery(params.Extensions, "`query` is required, a string")
	}
	return &params, nil
}

// decodeParameter reads the JSON object, or null, that a parameter of a query
// string must be.
func decodeParameter(name, text string, maxValues int) (map[string]any, *refusal) {
	decoder := &valueDecoder{jsontext.NewDecoder(strings.NewReader(text)), maxValues}
	object, err := readObject(decoder)
	if err == nil {
		err = atEnd(decoder)
	}
	if err != nil {
		return nil, malformed("the parameter `"+name+"`", err, maxValues)
	}
	return object, nil
}

// A memberError reports a member whose value has the wrong type.
type memberError struct{ name string }

func (e *memberError) Error() string { return "`" + e.name + "` is of another type" }

// malformed says what is wrong with JSON, and where, and quotes none of it.
func malformed(what string, err error, maxValues int) *refusal {
	var member *memberError
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &member) && (member.name == memberQuery || member.name == memberOperationName):
		return badInput(http.StatusBadRequest, "`"+member.name+"` must be a string")
	case errors.As(err, &member):
		return badInput(http.StatusBadRequest, "`"+member.name+"` must be an object or null")
	case errors.Is(err, errType):
		return badInput(http.StatusBadRequest, what+" must be one JSON object")
	case errors.Is(err, errValues):
		return tooManyValues(what, maxValues)
	case errors.Is(err, errDepth):
		return badInput(http.StatusBadRequest, fmt.Sprintf("%s nests deeper than %d", what, maxDepth))
	case errors.Is(err, errTrailing):
		return badInput(http.StatusBadRequest, what+" must be one JSON object and nothing after it")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return badInput(http.StatusBadRequest, what+" has an object with the same member twice")
	case errors.As(err, &syntax):
		return badInput(http.StatusBadRequest, fmt.Sprintf("%s is not valid JSON, at byte %d", what, syntax.ByteOffset))
	}
	return badInput(http.StatusBadRequest, what+" is not valid JSON")
}

var errTrailing = errors.New("trailing data")

func atEnd(decoder *valueDecoder) error {
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTrailing
	}
	return nil
}

// eachMember reads an object; value reads the value of the member that it is
// given.
func eachMember(decoder *valueDecoder, value func(name string) error) error {
	if err := decoder.count(); err != nil {
		return err
	}
	open, err := decoder.ReadToken()
	if err != nil {
		return err
	}
	if open.Kind() != '{' {
		return errType
	}
	if decoder.StackDepth() > maxDepth {
		return errDepth
	}
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return err
		}
		if err := value(name.String()); err != nil {
			return err
		}
	}
	_, err = decoder.ReadToken()
	return err
}

// readString reads a string or null.
func readString(decoder *valueDecoder) (text string, set bool, err error) {
	if err := decoder.count(); err != nil {
		return "", false, err
	}
	token, err := decoder.ReadToken()
	switch {
	case err != nil:
		return "", false, err
	case token.Kind() == '"':
		return token.String(), true, nil
	case token.Kind() == 'n':
		return "", false, nil
	}
	return "", false, errType
}

// readObject reads an object, or null as nil.
func readObject(decoder *valueDecoder) (map[string]any, error) {
	if decoder.PeekKind() == 'n' {
		_, err := decoder.ReadToken()
		return nil, err
	}
	object := make(map[string]any)
	err := eachMember(decoder, func(name string) (err error) {
		object[name], err = readValue(decoder)
		return err
	})
	return object, err
}

func readArray(decoder *valueDecoder) ([]any, error) {
	if err := decoder.count(); err != nil {
		return nil, err
	}
	if _, err := decoder.ReadToken(); err != nil {
		return nil, err
	}
	if decoder.StackDepth() > maxDepth {
		return nil, errDepth
	}
	array := []any{}
	for decoder.PeekKind() != ']' {
		element, err := readValue(decoder)
		if err != nil {
			return nil, err
		}
		array = append(array, element)
	}
	_, err := decoder.ReadToken()
	return array, err
}

// readValue reads any value as gqlgen expects it, numbers as they were written.
func readValue(decoder *valueDecoder) (any, error) {
	switch decoder.PeekKind() {
	case '{':
		return readObject(decoder)
	case '[':
		return readArray(decoder)
	}
	if err := decoder.count(); err != nil {
		return nil, err
	}
	token, err := decoder.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return token.Bool(), nil
	case '0':
		return json.Number(token.String()), nil
	default:
		return token.String(), nil
	}
}

// skip passes over a value, as strictly as if it were read.
func skip(decoder *valueDecoder) error {
	depth := decoder.StackDepth()
	for {
		token, err := decoder.ReadToken()
		if err != nil {
			return err
		}
		if decoder.StackDepth() > maxDepth {
			return errDepth
		}
		in, n := decoder.StackIndex(decoder.StackDepth())
		isName := in == '{' && n%2 == 1 // In an object every other token is one.
		if kind := token.Kind(); kind != '}' && kind != ']' && !isName {
			if err := decoder.count(); err != nil {
				return err
			}
		}
		if decoder.StackDepth() <= depth {
			return nil
		}
	}
}
