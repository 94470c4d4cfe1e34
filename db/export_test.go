package db

// ListSQL is the statement of ListProjects.
var ListSQL = listSQL
