package store

import "testing"

// An effect's statement that would end the transaction is found wherever it hides.
func TestEnds_FindsStatementsThatEndTheTransaction(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"":                                      false,
		"select 1":                              false,
		"commit":                                true,
		"  COMMIT and chain":                    true,
		"end":                                   true,
		"abort;":                                true,
		"rollback":                              true,
		"rollback work":                         true,
		"rollback to x":                         false,
		"rollback transaction to savepoint x":   false,
		"rollback work to x; select 1":          false,
		"prepare transaction 'x'":               true,
		"prepare s as select 1":                 false,
		"/* a /* b */ c */ commit":              true,
		"-- done\ncommit":                       true,
		"--commit":                              false,
		";commit":                               true,
		"select 1; commit; begin":               true,
		"select 'a;commit'":                     false,
		"select 'a''; commit'":                  false,
		`select E'a\'; commit; '`:               false,
		`select ";" , 1; commit`:                true,
		"do $$ begin perform 1; commit; end $$": false,
		"do $a$ ;commit $a$; commit":            true,
		"select $1; commit":                     true,
		"update commit set x = $1":              false,
		"commit/**/and chain":                   true,
	} {
		if got := ends(sql); got != want {
			t.Errorf("%q ends the transaction: %t, want %t", sql, got, want)
		}
	}
}
