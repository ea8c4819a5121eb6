//! Parses the command line, runs, and turns the result into an exit code.

/// Mail is many small pieces of memory that one thread takes and another gives back, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let serve = |config: &std::path::Path, moves: &tollgate::config::Moves| {
        tollgate::app::serve(config, moves).map_err(|error| error.to_string())
    };
    tollgate::cli::run(std::env::args_os(), &serve)
}
