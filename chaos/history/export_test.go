package history

// Exported to the tests.
var LinearizableWithin = linearizable
