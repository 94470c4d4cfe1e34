package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// unique makes the keys of one process others than those of another.
var unique = fmt.Sprint(os.Getpid())

// query appends a request with the document.
func query(out []byte, document string) []byte {
	text, err := json.Marshal(map[string]string{"query": document})
	if err != nil {
		panic(err) // A string can be encoded.
	}
	return append(out, text...)
}

func fixed(document string) func([]byte, int) []byte {
	return func(out []byte, _ int) []byte { return query(out, document) }
}

// repeated is text for 0 to n-1, each in place of %d.
func repeated(n int, text string) string {
	var all strings.Builder
	for i := range n {
		all.WriteString(strings.ReplaceAll(text, "%d", fmt.Sprint(i)))
	}
	return all.String()
}

// pages asks for so many pages in one request.
func pages(count int, arguments, field string) func([]byte, int) []byte {
	return fixed("{" + repeated(count, "p%d:projects("+arguments+"){nodes{"+field+"}}") + "}")
}

// lookUps asks what 20 keys did.
func lookUps(out []byte, n int) []byte {
	return query(out, "{"+repeated(20, fmt.Sprintf("k%%d:idempotentCall(key:\"%d %%d\"){executedAt}", n))+"}")
}

// creates makes so many projects in one request.
func creates(count int, description string) func([]byte, int) []byte {
	return func(out []byte, n int) []byte {
		return query(out, "mutation{"+repeated(count, fmt.Sprintf(
			`c%%d:createProject(input:{name:"Flood",description:%q},idempotencyKey:"%s %d %%d"){project{id}}`, description, unique, n))+"}")
	}
}

// updates changes one project.
func updates(out []byte, n int) []byte {
	return query(out, fmt.Sprintf(`mutation{updateProject(input:{id:%q,name:"Hot %d"},idempotencyKey:"%s %d"){project{id}}}`, hotProject, n, unique, n))
}

// objects is a body of so many bytes, nearly all of them empty objects.
func objects(bytes int) func([]byte, int) []byte {
	const head, last = `{"query":"{__typename}","variables":{"a":[`, `{}]}}`
	body := []byte(head + strings.Repeat("{},", (bytes-len(head)-len(last))/3) + last)
	return func([]byte, int) []byte { return body }
}

// documentBytes is how large the documents are.
const documentBytes = 8000

// overLimit are kinds of documents that are valid, and refused by the limits.
var overLimit = []func(n int) string{
	func(n int) string {
		return fmt.Sprintf("query q%d{%s}", n, repeated(320, "a%d:__typename "))
	},
	func(n int) string {
		return fmt.Sprintf(`query q%d{%s}`, n, repeated(31, `a%d:project(id:"01a20a28"){id name description createdAt updatedAt archivedAt}`))
	},
	func(n int) string { // Each fragment spreads the next one twice.
		return fmt.Sprintf(`query q%d{project(id:"x"){...f0}}`, n) + fragments(60)
	},
}

// invalid are kinds of documents that are refused before, each at another step.
var invalid = []func(n int) string{
	// By validation.
	func(n int) string { return "{" + repeated(900, fmt.Sprintf("f%d_%%d ", n%1000)) + "}" },
	func(n int) string { return fmt.Sprintf("query q%d{project{%s}}", n, strings.Repeat("nam ", 900)) },
	// By the lexer, for their tokens.
	func(n int) string { return fmt.Sprintf("query q%d{%s}", n, strings.Repeat("id ", 2600)) },
	// By the parser, at the end.
	func(n int) string { return fmt.Sprintf("query q%d{%s", n, strings.Repeat("projects ", 800)) },
}

// valid are kinds that are answered.
var valid = []func(n int) string{
	func(n int) string { return fmt.Sprintf("query q%d{projects(first:1){nodes{id}}}", n) },
	// The time to see that fields can be merged grows with their square.
	func(n int) string {
		return fmt.Sprintf(`query q%d{projects(first:1){nodes{%s}}}`, n, strings.Repeat("id ", 900))
	},
	func(n int) string {
		const levels = 150
		return fmt.Sprintf(`query q%d{projects(first:1){nodes{%sid%s}}}`, n, strings.Repeat("...on Project{", levels), strings.Repeat("}", levels))
	},
}

func fragments(count int) string {
	var all strings.Builder
	for i := range count {
		fmt.Fprintf(&all, " fragment f%d on Project{...f%d ...f%d}", i, i+1, i+1)
	}
	fmt.Fprintf(&all, " fragment f%d on Project{id}", count)
	return all.String()
}

// documents takes turns with the kinds.
func documents(kinds ...func(int) string) func([]byte, int) []byte {
	return func(out []byte, n int) []byte { return query(out, padded(kinds[n%len(kinds)](n))) }
}

// padded makes the document as large as all are, by a comment.
func padded(document string) string {
	return document + "#" + strings.Repeat("x", max(0, documentBytes-len(document)-1))
}
