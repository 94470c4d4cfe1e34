// Package server is what stands before the API: who sends a request, what
// browsers may do, and whether the server can do its work.
package server
