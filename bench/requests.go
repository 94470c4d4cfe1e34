package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// requests make the bodies that a target takes for the n-th key, and check its
// answers. Keys begin with the run's prefix, so that no two runs share one.
type requests interface {
	// create appends the request that creates the n-th project, with the key.
	create(out []byte, key []byte, n int) []byte
	// check says what is wrong with its answer. A replay is expected, or not.
	check(status int, answer []byte, n int, replay bool) error
}

// graphQL is what OnceQL and its peers behind the same GraphQL layer take.
type graphQL struct {
	// marksNothing says that the target's answers don't tell a replay.
	marksNothing bool
}

func (graphQL) create(out, key []byte, n int) []byte {
	out = append(out, `{"query":"mutation Create($input: CreateProjectInput!, $key: String!) { `+
		`createProject(input: $input, idempotencyKey: $key) { project { id name description createdAt } } }",`+
		`"variables":{"input":{"name":"Project `...)
	out = strconv.AppendInt(out, int64(n), 10)
	out = append(out, `","description":"Made by a load test"},"key":"`...)
	out = append(out, key...)
	return append(out, `"}}`...)
}

// updatedProjects is how many projects update takes turns with, so that few calls
// wait for each other's rows.
const updatedProjects = 64

// update appends the request that renames one of the projects that prepare makes.
func update(out, key []byte, n int) []byte {
	out = append(out, `{"query":"mutation Update($input: UpdateProjectInput!, $key: String!) { `+
		`updateProject(input: $input, idempotencyKey: $key) { project { id name description createdAt } } }",`+
		`"variables":{"input":{"id":"`...)
	out = fmt.Appendf(out, updatedProject, n%updatedProjects)
	out = append(out, `","name":"Project `...)
	out = strconv.AppendInt(out, int64(n), 10)
	out = append(out, `","description":"Made by a load test"},"key":"`...)
	out = append(out, key...)
	return append(out, `"}}`...)
}

// updatedProject is the id of the n-th of them.
const updatedProject = "01a20a28-0e1d-775f-8861-%012d"

var (
	executed = []byte(`"status":"EXECUTED"`)
	replayed = []byte(`"status":"REPLAYED"`)
	failed   = []byte(`"errors"`)
)

func (g graphQL) check(status int, answer []byte, n int, replay bool) error {
	marks := executed
	if replay && !g.marksNothing {
		marks = replayed
	}
	if status != 200 || !named(answer, n) || !bytes.Contains(answer, marks) || bytes.Contains(answer, failed) {
		return fmt.Errorf("project %d was answered %d %s", n, status, answer)
	}
	return nil
}

// rest is what the Express server takes.
type rest struct{}

func (rest) create(out, key []byte, n int) []byte {
	out = append(out, `{"name":"Project `...)
	out = strconv.AppendInt(out, int64(n), 10)
	out = append(out, `","description":"Made by a load test","key":"`...)
	out = append(out, key...)
	return append(out, `"}`...)
}

func (rest) check(status int, answer []byte, n int, replay bool) error {
	want := 201
	if replay {
		want = 200
	}
	if status != want || !named(answer, n) {
		return fmt.Errorf("project %d was answered %d %s", n, status, answer)
	}
	return nil
}

func named(answer []byte, n int) bool {
	want := append(strconv.AppendInt([]byte(`"name":"Project `), int64(n), 10), '"')
	return bytes.Contains(answer, want)
}
