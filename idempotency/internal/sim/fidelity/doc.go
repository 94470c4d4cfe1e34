// Package fidelity holds the tests that compare the simulated PostgreSQL of package sim
// with real ones, so that nobody trusts a fiction.
//
// A history is calls of package store and statements of effects, by a few sessions, in an
// order that a seed draws: claims and look-ups, savepoints, commits, purges, keys that are
// stored though another has the lock. Each session sends one round trip at a time, and some
// are cut off or canceled. The same history runs on both, and all that they answer is
// compared, message by message: rows and their types, tags, SQLSTATEs and constraints,
// notices, the state of the transaction; who waits, and who wakes whom; and what the store
// makes of it. Times are compared by the transaction whose they are. Texts of errors, and
// the names of columns, are not compared, nor the order of rows.
package fidelity
