package container

import (
	"strconv"
	"strings"
	"testing"
)

// What the parser passed over would be missing in the image, and not in Docker's.
func TestDockerfile_WhatIsNotKnownIsRefused(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"RUN true", "COPY . .", "COPY --from=build --chown=1 /a /b", "ARG OTHER", "VOLUME /data", "CMD [\"serve\"]",
		"ENTRYPOINT onceql", "HEALTHCHECK NONE", "HEALTHCHECK --retries=3 CMD [\"onceql\"]", "HEALTHCHECK --timeout=5 CMD [\"onceql\"]", "ENV A=1 \\",
		"ENV A 1", "ENV A=1 B=2", "LABEL a=b c=d", "FROM scratch", "user 1", "EXPOSE 80 81", "EXPOSE 80/udp",
	} {
		if _, err := parse("FROM a\nFROM scratch\n"+line+"\n", map[string]string{"VERSION": "1"}); err == nil || !strings.Contains(err.Error(), strconv.Quote(line)) {
			t.Errorf("%s: %v", line, err)
		}
	}
	if _, err := parse("FROM debian\n", nil); err == nil {
		t.Error("a last stage that begins with something is read")
	}
}
