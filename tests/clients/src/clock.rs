//! A clock of a server's own, that can be set. A library between the server and the system adds what a file says.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::program::{Cluster, succeed};
use crate::scratch::Scratch;

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Microseconds. */
static const volatile long long *offset;

__attribute__((constructor)) static void open_offset(void) {
    const char *path = getenv("SHIFTED_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    void *memory = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED)
        _exit(127);
    close(file);
    offset = memory;
}

int clock_gettime(clockid_t clock, struct timespec *ts) {
    int result = syscall(SYS_clock_gettime, clock, ts);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long nanos = ts->tv_nsec + *offset % 1000000 * 1000 + 1000000000;
        ts->tv_sec += *offset / 1000000 + nanos / 1000000000 - 1;
        ts->tv_nsec = nanos % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz) {
    struct timespec ts;
    int result = clock_gettime(CLOCK_REALTIME, &ts);
    (void) tz;
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return result;
}

time_t time(time_t *at) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (at)
        *at = ts.tv_sec;
    return ts.tv_sec;
}
"#;

/// The clock of one server.
pub struct Clock {
    scratch: Scratch,
    offset: File,
}

impl Clock {
    /// One that is right.
    pub fn new() -> Self {
        let scratch = Scratch::new("clock");
        let (source, offset) = (scratch.0.join("clock.c"), scratch.0.join("offset"));
        fs::write(&source, LIBRARY).unwrap();
        fs::write(&offset, 0_i64.to_ne_bytes()).unwrap();
        succeed(
            Command::new("cc")
                .args(["-shared", "-fPIC", "-O1", "-o"])
                .arg(scratch.0.join("clock.so"))
                .arg(&source),
        );
        let offset = File::options().write(true).open(&offset).unwrap();
        Self { scratch, offset }
    }

    /// A server that goes by it.
    pub fn server(&self) -> Cluster {
        let path = |name: &str| -> PathBuf { self.scratch.0.join(name) };
        Cluster::start_with(
            &[],
            &[
                ("LD_PRELOAD", &path("clock.so")),
                ("SHIFTED_CLOCK", &path("offset")),
            ],
        )
    }

    /// Sets it to an instant, in seconds of the Unix epoch. It goes on from there.
    pub fn set(&self, seconds: f64) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let offset = ((seconds - now) * 1e6) as i64;
        self.offset.write_all_at(&offset.to_ne_bytes(), 0).unwrap();
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
