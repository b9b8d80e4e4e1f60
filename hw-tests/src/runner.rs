//! Running cases: those that want the same NIC and testpmd one after the other in one run of it.

use rte_flow::Profile;

use crate::case::{Case, Start};
use crate::perform;
use crate::session::Session;
use crate::target::Target;

/// A case with a profile.
pub struct Trial<'a> {
    /// The case.
    pub case: &'a Case,
    /// The profile's name.
    pub profile: String,
}

/// All trials of these cases on a target, those that share a testpmd together.
#[must_use]
pub fn trials<'a>(target: &Target, cases: &'a [Case]) -> Vec<Trial<'a>> {
    let mut trials = Vec::new();
    for profile in target.profiles() {
        for case in cases {
            if case.holds_for(&profile) && target.can_start(&case.start) {
                trials.push(Trial { case, profile: profile.clone() });
            }
        }
    }
    trials.sort_by(|a, b| {
        let key = |trial: &Trial<'a>| (trial.profile.clone(), trial.case.start.clone());
        key(a).cmp(&key(b))
    });
    trials
}

/// Runs trials, with one testpmd at a time.
pub struct Runner {
    target: Target,
    running: Option<(String, Start, Session)>,
}

impl Runner {
    /// A runner without a testpmd.
    #[must_use]
    pub const fn new(target: Target) -> Self {
        Self { target, running: None }
    }

    /// Runs a case with a profile.
    ///
    /// # Errors
    /// What was not as the case says, with all that testpmd printed.
    pub fn run(&mut self, case: &Case, profile: &str) -> Result<(), String> {
        let mut session = self.session(case, profile)?;
        let result = perform::steps(&mut session, case, profile, &self.target);
        let log = std::mem::take(&mut session.log);
        let result = result.map_err(|e| format!("{e}\n\ntestpmd:\n{log}"));
        if case.start.alone {
            return result.and(session.quit());
        }
        match session.clean() {
            Ok(()) => {
                self.running = Some((profile.to_owned(), case.start.clone(), session));
                result
            }
            // What a failed case leaves behind is no second failure.
            Err(problem) => result.and(Err(format!("after the case: {problem}"))),
        }
    }

    /// Ends the testpmd that runs.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn finish(mut self) -> Result<(), String> {
        self.running.take().map_or(Ok(()), |(_, _, session)| session.quit())
    }

    /// The testpmd that runs already, if the case can have it, or a new one.
    fn session(&mut self, case: &Case, profile: &str) -> Result<Session, String> {
        if let Some((running, start, session)) = self.running.take() {
            if running == profile && start == case.start {
                return Ok(session);
            }
            session.quit()?;
        }
        let profile = Profile::named(profile).map_err(|e| e.to_string())?;
        Session::start(&self.target, &profile, &case.start)
    }
}
