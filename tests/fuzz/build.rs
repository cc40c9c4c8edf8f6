//! Links like the server does: the same function of the bundled liburing is wrapped.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg=-Wl,--wrap=io_uring_queue_init_params");
}
