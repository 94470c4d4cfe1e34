package audit

import (
	"fmt"
	"math"
	"time"

	"github.com/onceql/onceql/chaos/history"
)

// A comparison collects its Result.
type comparison struct {
	Result
	rows    map[string][]row
	effects map[effect]int
	class   func(key string) Class
}

func (c *comparison) violated(key, format string, args ...any) {
	c.Violations = append(c.Violations, Violation{key, fmt.Sprintf(format, args...)})
}

// acknowledged checks that what callers were told of is there, and was done for one of
// them only.
func (c *comparison) acknowledged(key string, calls []history.Call) {
	executed := map[string]int{}
	for _, call := range calls {
		if !call.Success() {
			continue
		}
		if call.Outcome == history.Executed {
			executed[call.Payload]++
		}
		there := false
		for _, r := range c.rows[key] {
			there = there || r.name == Name(key, call.Variant) && Payload(r.id, r.name) == call.Payload
		}
		if !there {
			c.violated(key, "acknowledged, and no row of the key has it: %s", call)
		}
	}
	for payload, times := range executed {
		if times > 1 {
			c.violated(key, "executed for %d callers: %s", times, payload)
		}
	}
}

// Payload is what a success carries of a project.
func Payload(id, name string) string { return id + " " + name }

// sent checks that each effect is of a call that may have taken effect: a definite error
// means that it has not.
func (c *comparison) sent(key string, calls []history.Call) {
	may := map[string]bool{}
	for _, call := range calls {
		may[call.Variant] = may[call.Variant] || call.Success() || call.Outcome == history.Unknown
	}
	for _, r := range c.rows[key] {
		if !may[r.variant()] {
			c.violated(key, "%q took effect, and every call with it was refused", r.variant())
		}
	}
}

func (c *comparison) effectsHaveRows() {
	rows := map[effect]int{}
	for _, list := range c.rows {
		for _, r := range list {
			rows[effect{r.id, r.name}]++
		}
	}
	for e, times := range c.effects {
		if rows[e] != times {
			c.violated(keyOf(e.name), "%d effects, and %d rows of the key: project %s, %q", times, rows[e], e.id, e.name)
		}
	}
}

func (c *comparison) rowsHaveEffects() {
	for key, list := range c.rows {
		class, there := c.class(key), 0
		for _, r := range list {
			if c.effects[effect{r.id, r.name}] == 0 {
				c.violated(key, "a row of the key without an effect: project %s, %q", r.id, r.name)
			}
			if keyOf(r.name) != key {
				c.violated(key, "the row of the key has another key's payload: %q", r.name)
			}
			if !r.removed {
				there++
				if apart(r.ttl, class.TTL) || apart(r.retention, class.Retention) && !(class.Longer && r.retention > class.Retention) {
					c.violated(key, "replayed for %s and kept for %s, want %s and %s", r.ttl, r.retention, class.TTL, class.Retention)
				}
				continue
			}
			switch {
			case class.Forgotten:
				c.Forgotten++
			case class.Purged && !r.early:
				c.Purged++
			default:
				c.violated(key, "the row was removed before its retention was over")
			}
		}
		if there > 1 {
			c.violated(key, "%d rows of the key", there)
		}
	}
}

// apart says whether two durations are more than rounding apart.
func apart(a, b time.Duration) bool {
	return math.Abs(float64(a-b)) > float64(time.Millisecond)
}
