//! Parses the command line, runs, and turns the result into an exit code.

fn main() -> std::process::ExitCode {
    let serve = |config: &std::path::Path, moves: &tollgate::config::Moves| {
        tollgate::app::serve(config, moves).map_err(|error| error.to_string())
    };
    tollgate::cli::run(std::env::args_os(), &serve)
}
