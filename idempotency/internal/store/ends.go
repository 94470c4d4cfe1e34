package store

import "strings"

// ends says whether one of the statements in the text ends its transaction.
// https://www.postgresql.org/docs/current/sql-syntax-lexical.html
func ends(sql string) bool {
	words := make([]string, 0, 3) // The statement's first.
	for len(sql) > 0 {
		n := token(sql)
		word := strings.ToLower(sql[:n])
		sql = sql[n:]
		switch c := word[0]; {
		case c == ';':
			if ending(words) {
				return true
			}
			words = words[:0]
		case c == '_' || 'a' <= c && c <= 'z':
			if len(words) < cap(words) {
				words = append(words, word)
			}
		}
	}
	return ending(words)
}

func ending(words []string) bool {
	if len(words) == 0 {
		return false
	}
	switch words[0] {
	case "commit", "end", "abort":
		return true
	case "rollback": // But not to a savepoint.
		return !(len(words) > 1 && (words[1] == "to" || len(words) > 2 && words[2] == "to"))
	case "prepare":
		return len(words) > 1 && words[1] == "transaction"
	}
	return false
}

// token is the length of what the text begins with: a comment, something in quotes, a
// word, or one character.
func token(sql string) int {
	switch c := sql[0]; {
	case strings.HasPrefix(sql, "--"):
		return until(sql, 2, "\n")
	case strings.HasPrefix(sql, "/*"):
		return comment(sql)
	case c == '\'' || c == '"':
		return until(sql, 1, string(c))
	case c == '$':
		if tag := strings.IndexByte(sql[1:], '$') + 2; tag > 1 && !strings.ContainsAny(sql[1:tag-1], " \t\n,);'") {
			return until(sql, tag, sql[:tag])
		}
	case (c == 'e' || c == 'E') && strings.HasPrefix(sql[1:], "'"):
		return escaped(sql)
	case isWord(c):
		n := 1
		for n < len(sql) && (isWord(sql[n]) || sql[n] == '$' || '0' <= sql[n] && sql[n] <= '9') {
			n++
		}
		return n
	}
	return 1
}

func isWord(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}

// until is where the end stands for the first time after from, or all of the text.
func until(sql string, from int, end string) int {
	if i := strings.Index(sql[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(sql)
}

// comment is the length of a comment, which may have others in it.
func comment(sql string) int {
	depth := 0
	for i := 0; i < len(sql); i++ {
		switch {
		case strings.HasPrefix(sql[i:], "/*"):
			depth++
			i++
		case strings.HasPrefix(sql[i:], "*/"):
			depth--
			if i++; depth == 0 {
				return i + 1
			}
		}
	}
	return len(sql)
}

// escaped is the length of a string in which a backslash escapes a quote.
func escaped(sql string) int {
	for i := 2; i < len(sql); i++ {
		switch sql[i] {
		case '\\':
			i++
		case '\'':
			return i + 1
		}
	}
	return len(sql)
}
