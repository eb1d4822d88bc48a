use eschaton_ports::Rng;

/// The operating system's randomness.
#[derive(Clone, Copy, Debug)]
pub struct OsRng(());

impl OsRng {
    /// Fails when the system gives no entropy; later fills then cannot fail, for a system that has
    /// once gathered entropy does not lose it.
    #[allow(clippy::disallowed_methods, reason = "this is the adapter that reaches out")]
    pub fn new() -> Result<Self, std::io::Error> {
        getrandom::fill(&mut [0; 32]).map_err(std::io::Error::other)?;
        Ok(Self(()))
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the adapter that reaches out")]
impl Rng for OsRng {
    #[expect(clippy::expect_used, reason = "the source worked when this was made, see `new`")]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the system's randomness worked when this was made");
    }
}
