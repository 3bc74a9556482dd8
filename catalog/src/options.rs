//! Option keys of catalogs and tables: canonical names, aliases, what is refused and what is accepted without meaning.
