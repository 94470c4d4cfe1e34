package db_test

import (
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
