//! The steps of a round of archiving, by the names that traces, `archive run --step` and kill drills use.

use std::fmt;

/// A named step of a round. It is announced before it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Make the pin, if it is not there.
    Pin,
    /// Look at the rules under which the log forgets.
    Policies,
    /// Find the newest manifest.
    NewestManifest,
    /// Take the chain over from another owner.
    Claim,
    /// Read entries after the archive's end.
    Read,
    /// Compare the ledger lists.
    Continuity,
    /// Decide up to which entry this commit goes.
    Cut,
    /// Write the data file.
    WriteFile,
    /// Read it back.
    VerifyFile,
    /// Create the next manifest.
    Commit,
    /// Find the newest manifest again.
    ReadBack,
    /// Move the pin to its end.
    Ack,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Step; 12] = [
        Step::Pin,
        Step::Policies,
        Step::NewestManifest,
        Step::Claim,
        Step::Read,
        Step::Continuity,
        Step::Cut,
        Step::WriteFile,
        Step::VerifyFile,
        Step::Commit,
        Step::ReadBack,
        Step::Ack,
    ];

    /// The step with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    /// Its name in traces and drills.
    pub fn name(self) -> &'static str {
        match self {
            Step::Pin => "pin",
            Step::Policies => "policies",
            Step::NewestManifest => "newest-manifest",
            Step::Claim => "claim",
            Step::Read => "read",
            Step::Continuity => "continuity",
            Step::Cut => "cut",
            Step::WriteFile => "write-file",
            Step::VerifyFile => "verify-file",
            Step::Commit => "commit",
            Step::ReadBack => "read-back",
            Step::Ack => "ack",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
