package sim_test

import (
	"testing"
	"time"

	"github.com/onceql/onceql/idempotency/internal/sim"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// A row may go once its replays and its retention are over, whichever is the later.
func TestNeeded_UntilBothTimesAreOver(t *testing.T) {
	for _, test := range []struct {
		name              string
		expires, retained time.Duration
		needed            bool
	}{
		{"both are over", -1, -1, false},
		{"it still replays", 1, -1, true},
		{"it is still retained", -1, 1, true},
		{"its replays end now", 0, -1, true},
		{"its retention ends now", -1, 0, true},
	} {
		row := store.Row{ExpiresAt: bubble.Add(test.expires), RetainedUntil: bubble.Add(test.retained)}
		if needed := sim.Needed(row, bubble); needed != test.needed {
			t.Errorf("%s: needed %t", test.name, needed)
		}
	}
}
