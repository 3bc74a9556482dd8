//! Where definitions lie: versioned JSON, committed by create-if-absent.
