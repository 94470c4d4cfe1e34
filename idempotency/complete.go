package idempotency

import (
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
)

var errIncomplete = errors.New("it lacks something that this build's payload always has")

// CheckComplete compares a stored payload with what this build writes of the
// value that it read from it. It reports a member that is missing from what is
// stored, a number that lost digits, and whatever else has become another thing:
// the value has a guess in its place.
//
// Members with omitempty or omitzero may be missing, as gqlgen writes them for
// nullable fields, and stored members that the type does not have are passed over.
func CheckComplete(stored, again []byte) error {
	var before, after any
	if err := unmarshalExactly(stored, &before); err != nil {
		return err
	}
	if err := unmarshalExactly(again, &after); err != nil {
		return err
	}
	if !covers(before, after) {
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
	case json.Number:
		number, ok := stored.(json.Number)
		return ok && (number == read || decimal(number) == decimal(read))
	case bool:
		return stored == read
	default:
		return reflect.TypeOf(stored) == reflect.TypeOf(read)
	}
}

// decimal is a number's exact value, in one form: its digits without zeros at
// their ends, and the power of ten that they are multiplied by.
func decimal(number json.Number) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(string(number)), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits, negative := strings.CutPrefix(whole+fraction, "-")
	significant := strings.TrimRight(digits, "0")
	power, err := strconv.ParseInt(exponent, 10, 32)
	if err != nil && exponent != "" {
		return string(number)
	}
	power += int64(len(digits) - len(significant) - len(fraction))
	significant = strings.TrimLeft(significant, "0")
	if significant == "" {
		return "0"
	}
	if negative {
		significant = "-" + significant
	}
	return significant + "e" + strconv.FormatInt(power, 10)
}
