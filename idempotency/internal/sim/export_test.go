package sim

// Needed is how a purge is judged that removes a row.
var Needed = needed
