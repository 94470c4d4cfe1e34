package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/printer"
	"go/token"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/server"
)

// A message that the program can log is one that operators look up in
// docs/operations.md.
func TestOperations_HasEveryLogMessage(t *testing.T) {
	t.Parallel()
	want, got := messages(t), map[string]string{}
	for _, row := range tableOf(t, "operations.md", "log message", "level", "means") {
		message := row[0]
		if prefix, cut := strings.CutSuffix(message, "…"); cut {
			for whole := range want {
				if strings.HasPrefix(whole, prefix) {
					message = whole
				}
			}
		}
		got[message] = row[1]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/operations.md (+) and the calls of slog (-):\n%s", diff)
	}
}

// messages returns what the program can log at INFO or above, with the levels in lower
// case.
func messages(t testing.TB) map[string]string {
	t.Helper()
	levels := events(t)
	levels["http: …"] = "warn" // Of net/http, which has slog.NewLogLogger.
	for _, file := range sources(t) {
		ast.Inspect(file, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			level, message := logged(call)
			if message == nil || level == "debug" {
				return true
			}
			if literal, ok := message.(*ast.BasicLit); ok {
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				levels[text] = level
				return true
			}
			texts, known := computed[source(t, message)]
			if !known {
				t.Errorf("which messages are %s, of %s? computed does not say", source(t, message), source(t, call))
			}
			for _, text := range texts {
				levels[text] = level
			}
			return true
		})
	}
	return levels
}

// computed are the messages that are no literals, by the expressions that make them.
var computed = map[string][]string{
	"now.String()":        {"the database can't be reached", "the database is read-only", "commits wait for a standby"},
	"event.Kind.String()": nil, // See events.
}

// logged returns the level and the message of a call of a slog.Logger, which is
// called log or Log here.
func logged(call *ast.CallExpr) (level string, message ast.Expr) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", nil
	}
	var logger string
	switch x := method.X.(type) {
	case *ast.Ident:
		logger = x.Name
	case *ast.SelectorExpr:
		logger = x.Sel.Name
	}
	if logger != "log" && logger != "Log" && logger != "slog" {
		return "", nil
	}
	name, inContext := strings.CutSuffix(method.Sel.Name, "Context")
	switch name {
	case "Debug", "Info", "Warn", "Error":
		if inContext {
			return strings.ToLower(name), call.Args[1]
		}
		return strings.ToLower(name), call.Args[0]
	case "Log", "LogAttrs":
		of, _ := call.Args[1].(*ast.SelectorExpr)
		if of == nil {
			return "", call.Args[2]
		}
		return strings.ToLower(strings.TrimPrefix(of.Sel.Name, "Level")), call.Args[2]
	}
	return "", nil
}

func source(t testing.TB, node ast.Node) string {
	t.Helper()
	var text bytes.Buffer
	if err := printer.Fprint(&text, token.NewFileSet(), node); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// events are the messages about calls.
func events(t testing.TB) map[string]string {
	t.Helper()
	levels := map[string]string{}
	for kind := idempotency.Executed; kind <= idempotency.PurgeFailed; kind++ {
		var text bytes.Buffer
		server.LogEvents(t.Context(), slog.New(slog.NewJSONHandler(&text, nil)))(idempotency.Event{Kind: kind, Err: idempotency.ErrUnavailable})
		if text.Len() == 0 {
			continue // Below INFO.
		}
		var line struct{ Level, Msg string }
		if err := json.Unmarshal(text.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		levels[line.Msg] = strings.ToLower(line.Level)
	}
	return levels
}
