//! Which rules Ethereum's mainnet has at a block: forks by number, and from Shanghai on by time.
//!
//! The numbers and times are those of the forks' meta-EIPs (EIP-606 Homestead to EIP-7607 Osaka),
//! blob parameters those of EIP-4844, EIP-7691 and EIP-7892.

use revm::{context::CfgEnv, primitives::hardfork::SpecId};

/// The chain whose rules these are.
pub const MAINNET: u64 = 1;

/// Forks up to the merge, the latest first, and their first blocks. Those without effect on the
/// EVM (DAO, Muir, Arrow and Gray Glacier) aren't here.
const BY_NUMBER: [(u64, SpecId); 10] = [
    (15_537_394, SpecId::MERGE),
    (12_965_000, SpecId::LONDON),
    (12_244_000, SpecId::BERLIN),
    (9_069_000, SpecId::ISTANBUL),
    // Constantinople and Petersburg came with one block.
    (7_280_000, SpecId::PETERSBURG),
    (4_370_000, SpecId::BYZANTIUM),
    (2_675_000, SpecId::SPURIOUS_DRAGON),
    (2_463_000, SpecId::TANGERINE),
    (1_150_000, SpecId::HOMESTEAD),
    (0, SpecId::FRONTIER),
];

/// Forks after the merge, the latest first, and the time from which they hold.
const BY_TIME: [(u64, SpecId); 4] = [
    (1_764_798_551, SpecId::OSAKA),
    (1_746_612_311, SpecId::PRAGUE),
    (1_710_338_135, SpecId::CANCUN),
    (1_681_338_455, SpecId::SHANGHAI),
];

/// The fraction by which the blob base fee follows the excess of blob gas, the latest first, and
/// the time from which it holds: BPO2, BPO1 (EIP-7892), Prague (EIP-7691), Cancun (EIP-4844).
const BLOB_FRACTIONS: [(u64, u64); 4] = [
    (1_767_747_671, 11_684_671),
    (1_765_290_071, 8_346_193),
    (1_746_612_311, 5_007_716),
    (1_710_338_135, 3_338_477),
];

/// The fork of a block.
pub fn fork(number: u64, timestamp: u64) -> SpecId {
    let latest = |table: &[(u64, SpecId)], at: u64| {
        table.iter().find(|(first, _)| *first <= at).map(|(_, spec)| *spec)
    };
    latest(&BY_TIME, timestamp)
        .filter(|_| number >= BY_NUMBER[0].0)
        .or_else(|| latest(&BY_NUMBER, number))
        .unwrap_or(SpecId::FRONTIER)
}

/// revm's configuration for a block.
pub fn configuration(number: u64, timestamp: u64) -> CfgEnv {
    let spec = fork(number, timestamp);
    let mut cfg = CfgEnv::new_with_spec(spec);
    cfg.set_spec_and_mainnet_gas_params(spec);
    cfg.chain_id = MAINNET;
    if let Some((_, fraction)) = BLOB_FRACTIONS.iter().find(|(first, _)| *first <= timestamp) {
        cfg.blob_base_fee_update_fraction = Some(*fraction);
        cfg.set_max_blobs_per_tx(max_blobs(spec));
    }
    cfg
}

/// The blobs that a transaction may carry: 6 on Cancun (EIP-4844), 9 on Prague (EIP-7691), 6 again
/// from Osaka on (EIP-7594).
pub fn max_blobs(spec: SpecId) -> u64 {
    if spec == SpecId::PRAGUE { 9 } else { 6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_begin_with_their_first_block() {
        for (number, time, expected) in [
            (0, 0, SpecId::FRONTIER),
            (1_149_999, 0, SpecId::FRONTIER),
            (1_150_000, 0, SpecId::HOMESTEAD),
            (4_369_999, 0, SpecId::SPURIOUS_DRAGON),
            (4_370_000, 0, SpecId::BYZANTIUM),
            (12_965_000, 0, SpecId::LONDON),
            (15_537_394, 1_663_224_179, SpecId::MERGE),
            (17_034_869, 1_681_338_443, SpecId::MERGE),
            (17_034_870, 1_681_338_455, SpecId::SHANGHAI),
            (19_426_587, 1_710_338_135, SpecId::CANCUN),
            (22_431_084, 1_746_612_311, SpecId::PRAGUE),
            (23_935_694, 1_764_798_551, SpecId::OSAKA),
        ] {
            assert_eq!(fork(number, time), expected, "block {number}");
        }
    }

    #[test]
    fn blob_parameters_follow_the_time() {
        let fraction = |time| configuration(20_000_000, time).blob_base_fee_update_fraction;
        assert_eq!(fraction(1_710_338_134), None);
        assert_eq!(fraction(1_710_338_135), Some(3_338_477));
        assert_eq!(fraction(1_746_612_311), Some(5_007_716));
        assert_eq!(fraction(1_764_798_551), Some(5_007_716));
        assert_eq!(fraction(1_765_290_071), Some(8_346_193));
        assert_eq!(fraction(1_767_747_671), Some(11_684_671));
    }
}
