package embeddedpg_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/onceql/onceql/internal/embeddedpg"
)

// installation writes programs that say they are of this version. Its initdb says
// so too, and fails: that is all a test of which programs are taken needs.
func installation(t testing.TB, dir, version string) string {
	t.Helper()
	writeProgram(t, filepath.Join(dir, "postgres"), fmt.Sprintf("echo 'postgres (PostgreSQL) %s'", version))
	writeProgram(t, filepath.Join(dir, "initdb"), fmt.Sprintf("echo 'the initdb of %s'; exit 1", version))
	return dir
}

func writeProgram(t testing.TB, path, script string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestStart_TakesTheFirstInstallation(t *testing.T) {
	t.Parallel()
	parent := publicDir(t)
	broken := installation(t, filepath.Join(parent, "broken"), "96.1")
	writeProgram(t, filepath.Join(broken, "postgres"), "exit 1")
	other := installation(t, filepath.Join(parent, "other"), "97.1")
	writeProgram(t, filepath.Join(other, "postgres"), "echo 'postgres (Almost) 97.1'")
	incomplete := installation(t, filepath.Join(parent, "incomplete"), "98.1")
	if err := os.Remove(filepath.Join(incomplete, "initdb")); err != nil {
		t.Fatal(err)
	}
	mentions(t, refused(t, embeddedpg.Config{Dir: newDir(t), Installations: []string{
		"", ".", filepath.Join(parent, "missing"), broken, other, incomplete,
		installation(t, filepath.Join(parent, "first"), "31.4 (Debian 31.4-1)"),
		installation(t, filepath.Join(parent, "second"), "32beta1"),
	}}), "the initdb of 31.4")
}

func TestStart_TakesTheNewestThatItFetched(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	for _, version := range []string{"9", "10", "31"} {
		installation(t, filepath.Join(dir, "postgresql-"+version, "bin"), version)
	}
	fill(t, dir, map[string]string{"onceql.lock": ""})
	mentions(t, refused(t, embeddedpg.Config{Dir: dir, Installations: []string{}}), "the initdb of 31")
}

func TestStart_LooksOnPath(t *testing.T) {
	t.Parallel()
	bin := installation(t, filepath.Join(publicDir(t), "bin"), "31.4")
	h := startHelper(t, executable(t), embeddedpg.Config{Dir: newDir(t)}, nil,
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	mentions(t, errors.New(h.answer(t).Error), "the initdb of 31.4")
}

// What the environment has for Postgres's clients is not the server's.
func TestStart_KeepsTheEnvironmentOut(t *testing.T) {
	t.Parallel()
	h := startHelper(t, executable(t), embeddedpg.Config{Dir: usedDir(t), Parameters: unsynced}, nil,
		"PGDATESTYLE=no such style", "PGCLIENTENCODING=no such encoding", "LC_ALL=no_such_locale",
		"DATABASE_PASSWORD=hunter2", "HTTPS_PROXY=http://u:hunter2@proxy.example", "TZ=Asia/Tokyo")
	answer := h.answer(t)
	if answer.Error != "" {
		t.Fatal(answer.Error)
	}
	// What a program that Postgres runs is told, and with it each of Postgres's own.
	if _, err := execute(t.Context(), answer.URL, `create table environment (line text); copy environment from program 'env'`); err != nil {
		t.Fatal(err)
	}
	variables := ask(t, answer.URL, `select string_agg(split_part(line, '=', 1), ' ' order by line) from environment
		where line !~ '^(PATH|HOME|TMPDIR|TZ|LC_ALL|LD_LIBRARY_PATH|PG_GRANDPARENT_PID|PGDATA|PGSYSCONFDIR|PGLOCALEDIR|LC_[A-Z]+|OLDPWD|PWD|SHLVL|_)='`)
	if variables != "" {
		t.Errorf("Postgres is told %s", variables)
	}
	if zone := ask(t, answer.URL, `select line from environment where line like 'TZ=%'`); zone != "TZ=Asia/Tokyo" {
		t.Errorf("Postgres is told %q, want the time zone", zone)
	}
	if lines := ask(t, answer.URL, `select count(*) from environment where line like '%hunter2%'`); lines != "0" {
		t.Errorf("%s lines have the password", lines)
	}
}

func TestStart_TakesTheVersionOfTheData(t *testing.T) {
	t.Parallel()
	other := installation(t, filepath.Join(publicDir(t), "bin"), "31.4")
	checkKept(t, start(t, embeddedpg.Config{Dir: usedDir(t), Installations: []string{other, binDir(t)}}))

	err := refused(t, embeddedpg.Config{Dir: usedDir(t), Installations: []string{other}})
	if !errors.Is(err, embeddedpg.ErrDataVersion) {
		t.Errorf("%v, want ErrDataVersion", err)
	}
	mentions(t, err, "this machine has 31;")
}

// As Homebrew has them.
func TestStart_FollowsLinks(t *testing.T) {
	t.Parallel()
	parent := publicDir(t)
	directory := filepath.Join(parent, "current")
	if err := os.Symlink(binDir(t), directory); err != nil {
		t.Fatal(err)
	}
	links := filepath.Join(parent, "links")
	if err := os.Mkdir(links, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"initdb", "postgres"} {
		if err := os.Symlink(filepath.Join(directory, program), filepath.Join(links, program)); err != nil {
			t.Fatal(err)
		}
	}
	dir := newDir(t)
	for _, installation := range []string{links, directory} {
		embedded := start(t, embeddedpg.Config{Dir: dir, Installations: []string{installation}})
		if got := ask(t, embedded.URL(), "select setting from pg_config where name = 'BINDIR'"); got != binDir(t) {
			t.Errorf("%s: it runs from %s, want %s", installation, got, binDir(t))
		}
		stop(t, embedded)
	}
}
