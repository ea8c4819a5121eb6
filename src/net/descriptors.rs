//! How many file descriptors the process may have open: the soft limit is raised to the hard one (setrlimit(2)).
//!
//! Who gets how many is the configuration's business.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows the process as many descriptors as the system lets it have; returns how many that are.
pub fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // What the system refuses leaves things as they are.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    count(getrlimit(Resource::Nofile).current)
}

/// How many descriptors a process that is started like this one may have open after [`raise_limit`].
#[must_use]
pub fn limit_max() -> usize {
    count(getrlimit(Resource::Nofile).maximum)
}

fn count(limit: Option<u64>) -> usize {
    limit.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_allowed_is_taken() {
        let most = limit_max();
        assert_eq!((raise_limit(), raise_limit()), (most, most));
        assert_eq!(count(getrlimit(Resource::Nofile).current), most);
    }
}
