package world_test

import (
	"testing"

	"github.com/onceql/onceql/idempotency/internal/sim"
)

func TestMain(m *testing.M) {
	sim.Alone()
	m.Run()
}
