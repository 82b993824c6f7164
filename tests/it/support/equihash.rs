//! Solutions that have the right shape, and block 415000 of Zcash, whose solution is right.

use std::fmt::Write;

/// Prefix and digits of the solutions of one parameter set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    pub(crate) prefix: &'static str,
    pub(crate) digits: usize,
}

pub(crate) const SET_200_9: Set = Set {
    prefix: "fd4005",
    digits: 2688,
};

pub(crate) const SET_48_5: Set = Set {
    prefix: "24",
    digits: 72,
};

impl Set {
    /// A solution in shape only, another one for each seed.
    pub(crate) fn solution(self, seed: u64) -> String {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut out = self.prefix.to_owned();
        while out.len() < self.prefix.len() + self.digits {
            write!(out, "{:02x}", random.u8(..)).unwrap();
        }
        out
    }
}

pub(crate) fn from_hex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "odd hex: {hex}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"))
        .collect()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

/// Zcash block 415000: the header fields in notify order, the nonce, the solution, the hash.
pub(crate) mod block_415000 {
    pub(crate) const VERSION: &str = "04000000";
    pub(crate) const PREVIOUS: &str =
        "5274b43b9e4ad8f43e93f78463d24dcfe531aeb4719819f4f97f7e0300000000";
    pub(crate) const MERKLE: &str =
        "663073bc4bfa95c9bec36aad7268a573049797bdfc5aa4c743fbe4820aa393ce";
    pub(crate) const RESERVED: &str =
        "0000000000000000000000000000000000000000000000000000000000000000";
    pub(crate) const TIME: &str = "a8becc5b";
    pub(crate) const BITS: &str = "e1ab031c";
    pub(crate) const NONCE: &str =
        "c2fd607c776a7a0000000000000000000000000000000000000000003eb21819";
    pub(crate) const HASH: &str =
        "0000000001ab37793ce771262b2ffa082519aa3fe891250a1adb43baaf856168";
    pub(crate) const SOLUTION: &str = "\
        fd400500949d55de0cc633e0cce41e4649ef4aa3349f0100290ffe281b947b3b53fbd2f35b1ce292649b96ac6e\
        0883af3a6844b95592e74556da344b4701961cd4130c68219cfa1341d5afb5049eb0e8be4a2d92d678c40785e3\
        3705548b5f3a54f0a4c39a2f58ee784a24163cd86f54812327df55e1d55ca84b6e7b887a7cbfb9091a585bdb8e\
        a4759307c56c1b3dafc669245a6f654b6f730052266a01ad4f9c0b59ed4e17712b3e72df0498aa8de4888f9935\
        31c60acded1d4b66e89de0b6482cccd4a712f5cf9d4ca83be0f922de2c1dbb3a1407480dbe8795993d8be64098\
        8abfe7a8a1b33a12131c451e1abc0d83fb851862c637ce724d5fe97aa9a806cf34bab509f4554b0cd10a7ddfd5\
        821b091ad2c90c1aa1d81eb3d72db41993b648f41e2138ff9531a30ff73b22140e4ebd7baa33848e512d99300c\
        5c131c6e75f5714a5c6dcb178b4a4978dac83ad412fbd692019250c553049aad457984bedfc96ae701c659bc70\
        07a97d0a9002b945bdec45a945ef6285b2cd553b4c09d907c627863f0399e8725b4ff7fc5979e3cff228145084\
        48ef8b9831c285959333396aa362a51cf205097afabec15e41fb6e30b622374bf58b37ef9d1b241ead5a682b98\
        b65749a57568e238d50afd417e1e960e7b5a064fd9f694d783a2cbcd58552dedbb9e5e1123674ef73a524196cf\
        05d3e524660549ffe7bd6568057135ffd5afd943f6da11cbb597e8ccecd77ecbe909de0631bfa29cd3e3d55446\
        71ba80256153d6e9990b88ad8e0cf4989bef4be457f9c7b0f1aacd6e0ef320605c29ed0cd2eb6cfce216c52a31\
        7580201cad7a0943d24b7b06d5bf758761dd96e11970b5ded697222b2c77e7f256a605ac755549c1651f25adfc\
        9d53d9117e3a0bb409eee4a600120472949c7dda1c2edb3c330c7f96179982916457d331e96309dd24df74eedd\
        00e7db497ee130f77de666eb557fb316e87adaf1813ce426a458a6eee3a85b2ab88f6553aadae8de652e211a1d\
        9f334d596b5eb6173407efcc2e8154bb9ca1212aa9a1a1121d2f5a7712cf25cc8148b8052e0d2e09f20e5ba2a9\
        8277e975b0eed9a89206966337163f215c9d04a6598b0958d333d846773c69e5abfd0a0427f3660614dd82b79a\
        db851a0d58b62df5f0b3ac836e6e25f3a51f49a99ade57796fe9fcc26f0a1f94ff0819fe52b75087edbed3a816\
        26eb5416c66557f11c0fcedff223d6aa8cd5c35386e5b4b95a0f0392ca301a38b3687d094493b9e9d264d07a19\
        0ce57d116804382a3fabe15af4df4fa043f0287aa1ed5568d9ef5d12510d010ccdab4eb616f6df13bb3126ef43\
        d9d65735e4e4c04b576348d040b535055a3d5ae191b75f0612f3b24066a05245f27fe57bda66bd6dec7e4fc9cb\
        236802062adde3cd0e313482c92a0c721102b1f38b015ab8d01559cbcb40f674e9efad5ee9c2fe133faa55ca1d\
        d0ff26710f9da819cc1459cb7ed260dad3db0596258d47c74c32a8b852b671c5a0caa2001603d90c91a7df2e2d\
        4ee9ae9bf1a6b1ec88151c62360d03024d2e2d0114084f6b88c5bba24aa7cecfac16e91e0baf3d8653e218093e\
        81d2a63c32eff1d9030f9e1414ece420daa24e0dd5b845b3274bb839ca1c53bcc0194242d74b2631b9495a654f\
        bbdcbfad779f7322b60736249880604821d96924e3fa397f354a5ecca34f614da5456f9b36338c37d8f6fbf626\
        be983477766022872746da10a1771ceb02dd8aac01ba186bf1488630479e1284da0190fce8b59ac6b0fd416bee\
        56b72f0a5845153557ff0f4950a0dc5be65ce942d22e18534c4e0efabb2d1525dc4858b9b0f77d474a125ebc25\
        0e08fedbfaa66f453d90932cab3ff45221909968e51e6bc254d509adeb75cba76d48fe024e3e66d8df5e";
}
