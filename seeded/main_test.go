package main_test

import (
	"os/exec"
	"testing"
)

// Code moves. A patch that no longer applies would be forgotten until somebody asks whether
// the proof still finds the bug.
func TestSeeded_PatchesApplyAndCompile(t *testing.T) {
	t.Parallel()
	if said, err := exec.CommandContext(t.Context(), "go", "run", ".", "-check").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
