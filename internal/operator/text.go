package operator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Text is what a terminal may be shown: the text itself where it has only characters that are
// printed, and no space, or else in quotes and with escapes. What a tenant is called, and what
// stands in a row, others chose.
func Text(text string) string {
	printed := func(r rune) bool { return unicode.IsPrint(r) && r != ' ' && r != unicode.ReplacementChar }
	if text != "" && text[0] != '"' && strings.IndexFunc(text, func(r rune) bool { return !printed(r) }) < 0 {
		return text
	}
	return strconv.Quote(text)
}

// JSONText is JSON, or a canonical form, whose characters that a terminal might obey are
// escaped as JSON escapes them.
func JSONText(text []byte) string {
	var shown strings.Builder
	for _, r := range string(text) {
		switch {
		case unicode.IsPrint(r) || r == '\n':
			shown.WriteRune(r)
		case r > 0xFFFF:
			r -= 0x10000
			fmt.Fprintf(&shown, `\u%04x\u%04x`, 0xD800+(r>>10), 0xDC00+(r&0x3FF))
		default:
			fmt.Fprintf(&shown, `\u%04x`, r)
		}
	}
	return shown.String()
}

// Line is text of others in a sentence, which ends no line and shows a terminal nothing that
// it might obey.
func Line(text string) string {
	return strings.ReplaceAll(JSONText([]byte(text)), "\n", `\n`)
}

// A moment is how times are printed: RFC 3339 in UTC.
func moment(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// second is a moment of which the table has room for the second.
func second(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// printJSON prints a value in one line.
func printJSON(out io.Writer, value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	// What is behind the ASCII characters is escaped where a terminal might obey it.
	_, err := io.WriteString(out, JSONText(text.Bytes()))
	return err
}

// A details is a list of names and values, one in a line.
type details struct{ table *tabwriter.Writer }

func newDetails(out io.Writer) details { return details{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)} }

func (d details) line(name, value string) {
	if value != "" {
		fmt.Fprintf(d.table, "%s\t%s\n", name, value)
	}
}

func (d details) end() error { return d.table.Flush() }

// optional is a text that may be missing.
func optional(text string) string {
	if text == "" {
		return ""
	}
	return Text(text)
}
