"""A local web application over run folders: read only but for acknowledgements, no script from elsewhere, no build step.

`address` says where and to whom it answers, `guard` refuses what is not allowed before any page is asked, `shelf` is the
table of runs (the one place where an id becomes a folder), `filters` and `matches` turn a query string into parameterised
SQL, `pages` are the handlers and `server` listens until it is told to stop.  Reads run folders only.
"""
