package graph_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A project as the tests select it.
type project struct {
	ID, Name             string
	Description          *string
	CreatedAt, UpdatedAt string
	ArchivedAt           *string
	code, message        string // of the one error, if there is one
}

const projectFields = `{ project { id name description createdAt updatedAt archivedAt } }`

var keys atomic.Int64

// mutate runs one mutation with the input, as a variable, under a new key.
func (a *api) mutate(ctx context.Context, t testing.TB, mutation, input string) project {
	t.Helper()
	inputType := strings.ToUpper(mutation[:1]) + mutation[1:] + "Input"
	document := fmt.Sprintf(`mutation($input: %s!, $key: String!) { m: %s(input: $input, idempotencyKey: $key) %s }`, inputType, mutation, projectFields)
	got := a.post(ctx, t, document, map[string]any{"input": json.RawMessage(input), "key": fmt.Sprint("key ", keys.Add(1))})
	var data struct{ M struct{ Project project } }
	if len(got.Data) > 0 {
		if err := json.Unmarshal(got.Data, &data); err != nil {
			t.Fatal(err)
		}
	}
	p := data.M.Project
	if p.code = got.code(t); p.code != "" {
		p.message = got.Errors[0].Message
	}
	return p
}

// succeed is mutate that must succeed.
func (a *api) succeed(t testing.TB, mutation, input string) project {
	t.Helper()
	p := a.mutate(t.Context(), t, mutation, input)
	if p.code != "" {
		t.Fatalf("%s(%.100s): %s, %s", mutation, input, p.code, p.message)
	}
	return p
}

func TestCreateProject_TrimsAndLimitsTheName(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for name, test := range map[string]struct{ given, stored string }{
		"one character":            {"x", "x"},
		"white space around":       {" \t\r\n\u00a0\u2003\u3000 Apollo 11 \u0085\v\f", "Apollo 11"},
		"white space within":       {"a  b\u00a0c", "a  b\u00a0c"},
		"200 characters":           {strings.Repeat("x", 200), strings.Repeat("x", 200)},
		"200 beyond 16 bits":       {strings.Repeat("😀", 200), strings.Repeat("😀", 200)},
		"200 and white space":      {" " + strings.Repeat("é", 200) + " ", strings.Repeat("é", 200)},
		"combining characters":     {"e\u0301", "e\u0301"},
		"a joined emoji":           {"👩\u200d🚀", "👩\u200d🚀"},
		"quotes and backslashes":   {`"\'; drop table projects; --`, `"\'; drop table projects; --`},
		"a percent sign and a tag": {"100 % <b>&amp;", "100 % <b>&amp;"},
		"U+FFFD, U+FFFF, U+10FFFF": {"\ufffd\uffff\U0010ffff", "\ufffd\uffff\U0010ffff"},
		"right to left":            {"\u202eabc", "\u202eabc"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			input, _ := json.Marshal(map[string]string{"name": test.given})
			if p := a.succeed(t, "createProject", string(input)); p.Name != test.stored {
				t.Errorf("the name is %q, want %q", p.Name, test.stored)
			}
		})
	}
}

func TestCreateProject_RefusesBadNamesAndDescriptions(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	long, _ := json.Marshal(strings.Repeat("é", 10_001))
	for name, input := range map[string]string{
		"nothing":                `{"name":""}`,
		"white space":            `{"name":" \t\n\u3000"}`,
		"201 characters":         `{"name":"` + strings.Repeat("x", 201) + `"}`,
		"201 beyond 16 bits":     `{"name":"` + strings.Repeat("😀", 201) + `"}`,
		"NUL":                    `{"name":"a\u0000b"}`,
		"NUL at the end":         `{"name":"a\u0000"}`,
		"a line break within":    `{"name":"a\nb"}`,
		"an escape":              `{"name":"\u001b[31m"}`,
		"DEL":                    `{"name":"a\u007f"}`,
		"a C1 control within":    `{"name":"a\u0085b"}`,
		"a long description":     `{"name":"x","description":` + string(long) + `}`,
		"NUL in the description": `{"name":"x","description":"a\u0000b"}`,
		"NUL in both":            `{"name":"\u0000","description":"\u0000"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if p := a.mutate(t.Context(), t, "createProject", input); p.code != "BAD_USER_INPUT" {
				t.Errorf("%q %s, want BAD_USER_INPUT", p.code, p.message)
			}
		})
	}
	t.Cleanup(func() { a.stores(t, 0) })
}

func TestCreateProject_TakesDescriptions(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	long := strings.Repeat("😀", 10_000)
	for name, description := range map[string]*string{
		"none": nil, "empty": new(""), "white space": new(" \n\t "), "10,000 characters": &long, "control characters": new("a\x01\x7f\u0085\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			input, _ := json.Marshal(map[string]any{"name": "x", "description": description})
			p := a.succeed(t, "createProject", string(input))
			if diff := cmp.Diff(description, p.Description); diff != "" {
				t.Errorf("description (-want +got):\n%.300s", diff)
			}
		})
	}
}

// Refused calls consume no key.
func TestCreateProject_TakesTheKeyOnceCorrected(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	for _, want := range []struct{ name, code string }{{"", "BAD_USER_INPUT"}, {"x", ""}, {"", "IDEMPOTENCY_KEY_REUSED"}} {
		got := a.post(t.Context(), t, createNamed, map[string]any{"name": want.name, "key": "k"})
		if got.code(t) != want.code {
			t.Errorf("%q: %s, want %q", want.name, got.text, want.code)
		}
	}
	a.stores(t, 1)
}

func TestUpdateProject_ChangesWhatIsGiven(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	created := a.succeed(t, "createProject", `{"name":"a","description":"d"}`)
	update := func(fields string) project {
		t.Helper()
		return a.succeed(t, "updateProject", `{"id":"`+created.ID+`"`+fields+`}`)
	}
	type state struct {
		Name        string
		Description *string
	}
	for _, step := range []struct {
		fields string
		want   state
	}{
		{``, state{"a", new("d")}},
		{`,"name":" b "`, state{"b", new("d")}},
		{`,"description":"e"`, state{"b", new("e")}},
		{`,"description":null`, state{"b", nil}},
		{`,"name":"c"`, state{"c", nil}},
		{`,"name":"f","description":""`, state{"f", new("")}},
	} {
		p := update(step.fields)
		if diff := cmp.Diff(step.want, state{p.Name, p.Description}); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.fields, diff)
		}
		if p.ID != created.ID || p.CreatedAt != created.CreatedAt || p.ArchivedAt != nil {
			t.Errorf("after %s: %+v, created as %+v", step.fields, p, created)
		}
	}
}

func TestUpdateProject_RefusesBadInput(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	created := a.succeed(t, "createProject", `{"name":"a","description":"d"}`)
	for fields, message := range map[string]string{
		`"name":null`:                       "a project's name can't be null; leave it out to keep it",
		`"name":null,"description":"e"`:     "a project's name can't be null; leave it out to keep it",
		`"name":" "`:                        "a project's name has 1 to 200 characters, this one has 0",
		`"name":"a\u0000"`:                  "a project's name has no control characters",
		`"name":"e","description":"\u0000"`: "a project's description has no NUL character",
	} {
		p := a.mutate(t.Context(), t, "updateProject", `{"id":"`+created.ID+`",`+fields+`}`)
		if p.code != "BAD_USER_INPUT" || p.message != message {
			t.Errorf("%s: %s %q, want %q", fields, p.code, p.message, message)
		}
	}
	if after := a.succeed(t, "updateProject", `{"id":"`+created.ID+`"}`); after.Name != "a" || *after.Description != "d" || after.UpdatedAt != created.UpdatedAt {
		t.Errorf("changed to %+v", after)
	}
}

func TestArchiveProject_TwiceChangesNothing(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	created := a.succeed(t, "createProject", `{"name":"a"}`)
	first := a.succeed(t, "archiveProject", `{"id":"`+created.ID+`"}`)
	if first.ArchivedAt == nil || *first.ArchivedAt != first.UpdatedAt {
		t.Fatalf("archived as %+v", first)
	}
	second := a.succeed(t, "archiveProject", `{"id":"`+strings.ToUpper(created.ID)+`"}`)
	if diff := cmp.Diff(first, second, cmp.AllowUnexported(project{})); diff != "" {
		t.Errorf("archived again (-first +second):\n%s", diff)
	}
	if updated := a.succeed(t, "updateProject", `{"id":"`+created.ID+`","name":"b"}`); updated.Name != "b" || updated.ArchivedAt == nil {
		t.Errorf("an archived project is updated to %+v", updated)
	}
}

func TestProjects_AreKnownByUUID(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	created := a.succeed(t, "createProject", `{"name":"a"}`)
	for id, code := range map[string]string{
		"":                                      "BAD_USER_INPUT",
		"1":                                     "BAD_USER_INPUT",
		"not-a-uuid-not-a-uuid-not-a-uuid-36!!": "BAD_USER_INPUT",
		created.ID + " ":                        "BAD_USER_INPUT",
		"{" + created.ID + "}":                  "BAD_USER_INPUT",
		"urn:uuid:" + created.ID:                "BAD_USER_INPUT",
		strings.ReplaceAll(created.ID, "-", ""): "BAD_USER_INPUT",
		"' or true --":                          "BAD_USER_INPUT",
		"a\x00b":                                "BAD_USER_INPUT",
		"00000000-0000-0000-0000-000000000000":  "NOT_FOUND",
		"01890a5d-ac96-774b-bcce-b302099a8057":  "NOT_FOUND",
	} {
		quoted, _ := json.Marshal(id)
		for _, mutation := range []string{"updateProject", "archiveProject", "unarchiveProject"} {
			if p := a.mutate(t.Context(), t, mutation, `{"id":`+string(quoted)+`}`); p.code != code {
				t.Errorf("%s of %s: %q, want %s", mutation, quoted, p.code, code)
			}
		}
		got := a.post(t.Context(), t, `query($id: ID!) { project(id: $id) { id } }`, map[string]any{"id": id})
		if string(got.Data) != `{"project":null}` || code == "NOT_FOUND" && len(got.Errors) > 0 || code != "NOT_FOUND" && got.code(t) != code {
			t.Errorf("project of %s: %s", quoted, got.text)
		}
	}
	a.stores(t, 1)
}

func TestProjects_BelongToTheirTenant(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	other := as(t.Context(), "another")
	created := a.succeed(t, "createProject", `{"name":"a"}`)
	for _, mutation := range []string{"updateProject", "archiveProject", "unarchiveProject"} {
		if p := a.mutate(other, t, mutation, `{"id":"`+created.ID+`"}`); p.code != "NOT_FOUND" {
			t.Errorf("%s of another tenant's project: %q", mutation, p.code)
		}
	}
	got := a.post(other, t, `query($id: ID!) { project(id: $id) { id } projects { nodes { id } } }`, map[string]any{"id": created.ID})
	if string(got.Data) != `{"project":null,"projects":{"nodes":[]}}` || len(got.Errors) > 0 {
		t.Errorf("another tenant sees %s", got.text)
	}
	// The same key is another call for another tenant.
	const call = `{ idempotentCall(key: "shared") { operation } }`
	if got := a.post(t.Context(), t, createNamed, map[string]any{"name": "x", "key": "shared"}); len(got.Errors) > 0 {
		t.Fatal(got.text)
	}
	if got := a.post(other, t, call, nil); string(got.Data) != `{"idempotentCall":null}` {
		t.Errorf("another tenant sees the call %s", got.text)
	}
	if got := a.post(other, t, createNamed, map[string]any{"name": "y", "key": "shared"}); len(got.Errors) > 0 || !strings.Contains(got.text, "EXECUTED") {
		t.Errorf("another tenant's call with the same key: %s", got.text)
	}
	if got := a.post(t.Context(), t, call, nil); string(got.Data) != `{"idempotentCall":{"operation":"createProject"}}` {
		t.Errorf("its tenant sees the call %s", got.text)
	}
}

func TestProjects_TellTimesInMilliseconds(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	p := a.succeed(t, "archiveProject", `{"id":"`+a.succeed(t, "createProject", `{"name":"a"}`).ID+`"}`)
	form := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
	for _, instant := range []string{p.CreatedAt, p.UpdatedAt, *p.ArchivedAt} {
		if !form.MatchString(instant) {
			t.Errorf("%s is not of the form of DateTime", instant)
		}
	}
}
