package idempotency_test

import (
	"testing"

	"github.com/onceql/onceql/idempotency"
)

// The hashes stand in logs that outlive a build. They are those of
//
//	printf '\0\0\0\0\0\0\0\x04acmek-1' | sha256sum | cut -c-16
func TestKeyHash_IsWhatTheDocsSay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ scope, key, want string }{
		{"acme", "k-1", "bed92bd9611264e5"},
		{"", "k-1", "2ec7010d70b2bb6b"},
		{"acm", "ek-1", "b3f4c86860086a87"},
	} {
		if got := idempotency.KeyHash(test.scope, test.key); got != test.want {
			t.Errorf("KeyHash(%q, %q) = %s, want %s", test.scope, test.key, got, test.want)
		}
	}
}
