package idempotency

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// A Codec writes a payload as JSON and reads it back. A payload with fields of
// interface types needs one, because encoding/json can't tell which type to
// read.
type Codec interface {
	// Encode returns value as JSON text.
	Encode(value any) ([]byte, error)
	// Decode reads data into the value that into points to. It returns an error
	// when data, perhaps written by another build, lacks something.
	Decode(data []byte, into any) error
}

// encode returns the bytes that are stored for value, once they are known to
// read back, and what they read back as.
func encode[T any](codec Codec, value T) (data []byte, decoded T, err error) {
	if data, err = codec.Encode(value); err != nil {
		return nil, decoded, fmt.Errorf("%w: encoding it: %w", ErrPayload, err)
	}
	if len(data) > MaxPayload {
		return nil, decoded, fmt.Errorf("%w: it has %d bytes, and %d is the most", ErrPayload, len(data), MaxPayload)
	}
	// encoding/json passes a json.RawMessage on whose strings are not UTF-8.
	if _, standard := codec.(jsonCodec); !utf8.Valid(data) || !standard && !json.Valid(data) {
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

var errIncomplete = errors.New("a member is missing that this build's payload always has")

// Decode refuses what another build wrote without a member that this build's
// type always writes: a zero value in its place would be a guess. Members with
// omitempty or omitzero may be missing, as gqlgen writes them for nullable
// fields, and members that the type does not have are passed over.
func (jsonCodec) Decode(data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return err
	}
	again, err := json.Marshal(into)
	if err != nil {
		return err
	}
	if bytes.Equal(again, data) {
		return nil
	}
	var stored, read any
	if err := json.Unmarshal(data, &stored); err != nil {
		return err
	}
	if err := json.Unmarshal(again, &read); err != nil {
		return err
	}
	if !covers(stored, read) {
		return errIncomplete
	}
	return nil
}

// covers says whether stored has every member of read.
func covers(stored, read any) bool {
	switch read := read.(type) {
	case map[string]any:
		object, ok := stored.(map[string]any)
		if !ok {
			return len(read) == 0
		}
		for name, value := range read {
			if member, ok := object[name]; !ok || !covers(member, value) {
				return false
			}
		}
		return true
	case []any:
		list, ok := stored.([]any)
		if !ok || len(list) != len(read) {
			return false
		}
		for i := range read {
			if !covers(list[i], read[i]) {
				return false
			}
		}
		return true
	default:
		return reflect.TypeOf(stored) == reflect.TypeOf(read)
	}
}
