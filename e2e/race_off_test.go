//go:build !race

package e2e_test

// raceDetector says whether the tests, and so the program, run with it.
const raceDetector = false
