package idempotency

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
	"unicode/utf8"
)

// A Codec writes a payload as JSON and reads it back. A payload with fields of
// interface types needs one, because encoding/json can't tell which type to
// read. The engine does not see what a Codec loses, see CheckPayload and CheckComplete.
type Codec interface {
	// Encode returns value as JSON text.
	Encode(value any) ([]byte, error)
	// Decode reads data into the value that into points to. It returns an error
	// when data, perhaps written by another build, lacks something.
	Decode(data []byte, into any) error
}

// checkType reports a type whose values the codec would not give back whole. Of
// an importer's codec nothing is known.
func checkType[T any](codec Codec) error {
	if _, standard := codec.(jsonCodec); !standard {
		return nil
	}
	if err := payloadTypeOf(reflect.TypeFor[T]()).err; err != nil {
		return fmt.Errorf("%w: %w", ErrPayload, err)
	}
	return nil
}

// A payloadType is what is known of a type that the default codec stores.
type payloadType struct {
	err error
	// plain says that values may hold plain JSON values of any kind.
	plain bool
}

// payloadTypes has a payloadType for each reflect.Type that was asked for.
var payloadTypes sync.Map

func payloadTypeOf(t reflect.Type) payloadType {
	if known, ok := payloadTypes.Load(t); ok {
		return known.(payloadType) //nolint:errcheck // Nothing else is in there.
	}
	plain, err := walkPayload(t, nil)
	found := payloadType{err, plain}
	payloadTypes.Store(t, found)
	return found
}

// encode returns the bytes that are stored for value, once they are known to
// read back, and what they read back as.
func encode[T any](codec Codec, value T) (data []byte, decoded T, err error) {
	if err := checkType[T](codec); err != nil {
		return nil, decoded, err
	}
	_, standard := codec.(jsonCodec)
	if standard {
		// By a pointer: methods of pointers are called only on what is addressable.
		data, err = json.Marshal(&value)
	} else {
		data, err = codec.Encode(value)
	}
	if err != nil {
		return nil, decoded, fmt.Errorf("%w: encoding it: %w", ErrPayload, err)
	}
	if len(data) > MaxPayload {
		return nil, decoded, fmt.Errorf("%w: it has %d bytes, and %d is the most", ErrPayload, len(data), MaxPayload)
	}
	// encoding/json passes on a json.RawMessage whose strings are not UTF-8.
	if !utf8.Valid(data) || !standard && !json.Valid(data) {
		return nil, decoded, fmt.Errorf("%w: its codec wrote no valid JSON", ErrPayload)
	}
	if decoded, err = decode[T](codec, data); err != nil {
		return nil, decoded, fmt.Errorf("%w: decoding it again: %w", ErrPayload, err)
	}
	return data, decoded, nil
}

func decode[T any](codec Codec, data []byte) (T, error) {
	var value T
	err := codec.Decode(data, &value)
	return value, err
}

type jsonCodec struct{}

func (jsonCodec) Encode(value any) ([]byte, error) { return json.Marshal(value) }

// Decode refuses what another build wrote without a member that this build's
// type always writes, see CheckComplete.
func (jsonCodec) Decode(data []byte, into any) error {
	read := json.Unmarshal
	if payloadTypeOf(reflect.TypeOf(into).Elem()).plain {
		read = unmarshalExactly
	}
	if err := read(data, into); err != nil {
		return err
	}
	// Mostly what was read is written as it was stored, which takes no copy to see.
	same := matcher{data, true}
	if err := json.NewEncoder(&same).Encode(into); err != nil {
		return err
	}
	if same.ended() {
		return nil
	}
	again, err := json.Marshal(into)
	if err != nil {
		return err
	}
	return CheckComplete(data, again)
}

// unmarshalExactly reads the numbers among plain JSON values as json.Number: a
// float64 would change those beyond 2^53. It takes a copy of the data.
func unmarshalExactly(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the JSON value")
	}
	return nil
}

// A matcher says whether what is written to it is a text and the end of its line.
type matcher struct {
	rest []byte
	same bool
}

func (m *matcher) Write(p []byte) (int, error) {
	n := min(len(p), len(m.rest))
	m.same = m.same && bytes.Equal(p[:n], m.rest[:n]) && (n == len(p) || string(p[n:]) == "\n")
	m.rest = m.rest[n:]
	return len(p), nil
}

func (m *matcher) ended() bool { return m.same && len(m.rest) == 0 }
