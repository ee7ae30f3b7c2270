//! The engine library: the only unsafe code of the workspace.
//!
//! `libchdb.so` comes without a header. These are the functions used here, as its sources declare them:
//!
//! ```c
//! chdb_result *chdb_query_cmdline(int argc, char **argv);
//! const char  *chdb_result_error(chdb_result *);   // NULL if there was none
//! ```

#![allow(unsafe_code, reason = "a C library has no other door; every block says why it is sound")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

use libloading::os::unix::{Library as DynamicLibrary, RTLD_GLOBAL, RTLD_NOW};

type QueryCommandLine = unsafe extern "C" fn(argc: c_int, argv: *mut *mut c_char) -> *mut c_void;
type ResultError = unsafe extern "C" fn(result: *mut c_void) -> *const c_char;

unsafe extern "C" {
    /// From the C library. It takes any status and touches nothing of ours.
    safe fn _exit(status: c_int) -> !;
}

/// The loaded engine.
pub(crate) struct Library {
    query_command_line: QueryCommandLine,
    result_error: ResultError,
}

impl Library {
    /// Loads the engine. Takes 30 to 250 ms.
    pub(crate) fn open(path: &Path) -> Result<Self, libloading::Error> {
        // SAFETY: Loading runs the library's initialisers. They are those of a C++ program and get what they expect: they run once, in
        // a process that exists for this library alone. There is no unloading that could run its destructors, see below.
        let library = unsafe { DynamicLibrary::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }?;
        // SAFETY: The types are those of the declarations at the head of this file, which hold for the version that is pinned in
        // `fetch-engine.sh`. The pointers do not outlive the library, which stays for as long as the process.
        let (query_command_line, result_error) = unsafe {
            (
                *library.get::<QueryCommandLine>(b"chdb_query_cmdline\0")?,
                *library.get::<ResultError>(b"chdb_result_error\0")?,
            )
        };
        // Its threads still run when it has ended: without its code under them they would crash.
        std::mem::forget(library);
        Ok(Self { query_command_line, result_error })
    }

    /// Runs `clickhouse-local` with this command line, until it ends. Once per process: takes the library with it.
    pub(crate) fn serve(self, arguments: &[CString]) -> Result<(), String> {
        let mut argv: Vec<*mut c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
        let argc = c_int::try_from(argv.len()).expect("a handful of arguments");
        // As C's `main` has it, though the engine counts.
        argv.push(std::ptr::null_mut());
        // SAFETY: `argv` points to `argc` strings that end in NUL, followed by a null pointer; all of them outlive the call. The
        // engine only reads them: it copies its arguments before it parses them.
        let result = unsafe { (self.query_command_line)(argc, argv.as_mut_ptr()) };
        if result.is_null() {
            return Err("the engine gave no result".to_owned());
        }
        // SAFETY: `result` came from the call above and was not destroyed.
        let error = unsafe { (self.result_error)(result) };
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: A string that ends in NUL and belongs to `result`, which is never destroyed.
        let error = unsafe { CStr::from_ptr(error) };
        Err(error.to_string_lossy().into_owned())
    }
}

/// Ends the process at once. The engine's threads are still there, and its destructors do not expect them: a normal exit can crash
/// after a clean stop.
pub(crate) fn exit(status: c_int) -> ! {
    _exit(status)
}
