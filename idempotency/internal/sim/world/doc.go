// Package world has no code but tests: servers and clients around a simulated
// PostgreSQL, in virtual time. A seed draws a plan, of what clients want, what goes wrong
// and which builds are deployed, and what happens is held against what is promised.
package world
