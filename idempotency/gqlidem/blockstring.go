package gqlidem

import "strings"

// BlockStrings returns the document with the indentation of its block strings written
// so that gqlparser reads the value that the GraphQL specification gives them
// (https://spec.graphql.org/September2025/#sec-String-Value.Semantics). A document that
// gqlparser reads right is returned as it is. Lines keep their numbers, and so do the
// columns behind a block string, but for one that another string follows without a space.
//
// A server that uses a Once has it called. Whoever calls Canonical or Fingerprint without
// one parses what it returns.
func BlockStrings(document string) string {
	if !strings.Contains(document, `"""`) {
		return document
	}
	var corrected strings.Builder
	rest := document
	for {
		at := strings.IndexAny(rest, `"#`)
		if at < 0 {
			break
		}
		corrected.WriteString(rest[:at])
		rest = rest[at:]
		length, block := stringOrComment(rest)
		if length < 0 {
			break // The parser says that it has no end.
		}
		token := rest[:length]
		rest = rest[length:]
		if !block {
			corrected.WriteString(token)
			continue
		}
		writeBlockString(&corrected, token)
		// gqlparser ends a block string with the last three of a row of quotes, the
		// specification with the first three.
		if strings.HasPrefix(rest, `"`) {
			corrected.WriteByte(' ')
		}
	}
	corrected.WriteString(rest)
	return corrected.String()
}

// stringOrComment returns how long the string or the comment is that the text begins
// with, less than zero when it has no end, and whether it is a block string.
func stringOrComment(text string) (length int, block bool) {
	switch {
	case text[0] == '#':
		if end := strings.IndexAny(text, "\r\n"); end >= 0 {
			return end, false
		}
		return len(text), false
	case strings.HasPrefix(text, `"""`):
		for at := len(`"""`); ; at += len(`"""`) {
			quotes := strings.Index(text[at:], `"""`)
			if quotes < 0 {
				return -1, true
			}
			at += quotes
			if quotes == 0 || text[at-1] != '\\' {
				return at + len(`"""`), true
			}
		}
	}
	for at := 1; at < len(text); at++ {
		switch text[at] {
		case '\\':
			at++
		case '"':
			return at + 1, false
		case '\r', '\n':
			return -1, false
		}
	}
	return -1, false
}

// writeBlockString writes a block string, in its quotes. gqlparser takes as much
// indentation from the lines behind the first as all lines have, and the specification
// as much as all lines have but the first. What is missing is taken here.
func writeBlockString(out *strings.Builder, token string) {
	raw := strings.TrimSuffix(token, `"""`)
	missing := missingIndent(strings.TrimPrefix(raw, `"""`))
	first := true
	taken := 0
	for line := range lines(raw) {
		taken = 0
		if !first {
			taken = min(missing, indent(line))
		}
		out.WriteString(line[taken:])
		first = false
	}
	out.WriteString(`"""`)
	out.WriteString(strings.Repeat(" ", taken)) // What follows keeps its column.
}

// missingIndent is how much more indentation the specification takes from the lines
// behind the first than gqlparser does.
func missingIndent(raw string) int {
	first, others, common := true, false, 0
	indentOfFirst := -1
	for line := range lines(raw) {
		n := indent(line)
		blank := n == len(strings.TrimRight(line, "\r\n"))
		switch {
		case blank:
		case first:
			indentOfFirst = n
		case !others || n < common:
			others, common = true, n
		}
		first = false
	}
	if !others || indentOfFirst < 0 {
		return 0
	}
	return max(0, common-indentOfFirst)
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }

// lines iterates over the lines with their ends, as GraphQL has them: a line feed, a
// carriage return, or both.
func lines(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for {
			end := strings.IndexAny(text, "\r\n")
			if end < 0 {
				yield(text)
				return
			}
			end++
			if text[end-1] == '\r' && strings.HasPrefix(text[end:], "\n") {
				end++
			}
			if !yield(text[:end]) {
				return
			}
			text = text[end:]
		}
	}
}
