//! Wraps one C function of the bundled liburing at link time, see `runtime/ring_flag.rs`.

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    println!("cargo:rustc-link-arg=-Wl,--wrap=io_uring_queue_init_params");
}
