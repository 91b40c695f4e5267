//! See `lucos_hostile_input::reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = lucos_hostile_input::reply::check(data);
});
