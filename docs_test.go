package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// Prose is read in editors and in diffs too.
func TestDocs_WrapAt100Columns(t *testing.T) {
	t.Parallel()
	for path, text := range docs(t) {
		for i, line := range prose(text) {
			if n := utf8.RuneCountInString(line); n > 100 {
				t.Errorf("%s:%d has %d columns", path, i+1, n)
			}
		}
	}
}

func TestDocs_LinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	all := docs(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for path, text := range all {
		for _, match := range link.FindAllStringSubmatch(strings.Join(prose(text), "\n"), -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			linked := path
			if target != "" {
				linked = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(linked); err != nil {
				t.Errorf("%s links to %s: %v", path, match[1], err)
			} else if anchor != "" && !headings(all[linked])[anchor] {
				t.Errorf("%s links to %s, which has no such heading", path, match[1])
			}
		}
	}
}

func TestREADME_IsShort(t *testing.T) {
	t.Parallel()
	if n := strings.Count(docs(t)["README.md"], "\n"); n == 0 || n > 110 {
		t.Errorf("README.md has %d lines, want at most 110: the rest belongs into docs/", n)
	}
}

// docs returns the texts of this repository's Markdown files by their paths.
func docs(t testing.TB) map[string]string {
	t.Helper()
	return files(t, ".md")
}

// prose returns the lines of a text. Those of code, which are not wrapped, are
// empty.
func prose(text string) []string {
	lines := strings.Split(text, "\n")
	fenced := false
	for i, line := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fence {
			fenced = !fenced
		}
		if fence || fenced || strings.HasPrefix(line, "    ") {
			lines[i] = ""
		}
	}
	return lines
}

// headings returns the anchors of a text's headings, as GitHub and GitLab make
// them.
func headings(text string) map[string]bool {
	anchors := map[string]bool{}
	for _, line := range prose(text) {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case strings.ContainsRune("`*.,:;?!()'\"/&", r):
				return -1
			}
			return r
		}, strings.ToLower(strings.TrimSpace(title)))
		anchors[anchor] = true
	}
	return anchors
}
