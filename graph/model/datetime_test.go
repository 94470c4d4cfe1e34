package model_test

import (
	"strings"
	"testing"
	"time"

	"github.com/onceql/onceql/graph/model"
)

func TestMarshalDateTime_WritesMillisecondsInUTC(t *testing.T) {
	t.Parallel()
	east := time.FixedZone("", 3*60*60+30*60)
	for want, instant := range map[string]time.Time{
		`"2026-01-31T12:00:00.000Z"`: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		`"2026-01-31T12:00:00.123Z"`: time.Date(2026, 1, 31, 12, 0, 0, 123_999_999, time.UTC),
		`"2026-01-31T08:30:00.120Z"`: time.Date(2026, 1, 31, 12, 0, 0, 120_000_000, east),
		`"1999-12-31T23:59:59.999Z"`: time.Date(1999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
	} {
		var text strings.Builder
		model.MarshalDateTime(instant).MarshalGQL(&text)
		if text.String() != want {
			t.Errorf("%s is written as %s, want %s", instant, &text, want)
		}
	}
}

// The strings are the examples of the specification.
func TestUnmarshalDateTime_ReadsWhatTheSpecificationAllows(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2011-08-30T13:22:53.108Z":      "2011-08-30T13:22:53.108Z",
		"2011-08-30T13:22:53.108+00:00": "2011-08-30T13:22:53.108Z",
		"2011-08-30t13:22:53.108z":      "2011-08-30T13:22:53.108Z",
		"2011-08-30T13:22:53.108-03:00": "2011-08-30T16:22:53.108Z",
		"2011-08-30T13:22:53.108+03:30": "2011-08-30T09:52:53.108Z",
	} {
		instant, err := model.UnmarshalDateTime(text)
		if err != nil || instant.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s is read as %s, %v, want %s", text, instant, err, want)
		}
	}
	for _, value := range []any{
		"2011-08-30T13:22:53.108-03", "2011-08-30T13:22:53.108912Z", "2011-08-30T13:22:53.1Z", "2011-08-30T24:22:53Z",
		"2011-08-30T13:22:53Z", "2011-08-30T13:22:53.108", "2011-08-30", "2011-08-30T13:22:53.108-00:00",
		"2011-08-30T13:22:53.108+03:30:15", "2011-08-30T24:22:53.108Z", "2010-02-30T21:22:53.108Z", "2010-02-11T21:22:53.108Z+25:11", "2010-02-11T21:22:53.108+25:11",
		"2011-08-30T13:22:53,108Z", "2011-08-30 13:22:53.108Z", "", 1314710573108, nil,
	} {
		if instant, err := model.UnmarshalDateTime(value); err == nil {
			t.Errorf("%v is read as %s", value, instant)
		}
	}
}
