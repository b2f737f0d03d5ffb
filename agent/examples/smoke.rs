use bulkhead_agent::{compile::*, dataplane::*, model::*};
use bulkhead_common::layout::*;
fn main() {
    let root = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let sizes = Sizes { devices: 1024, rules: 1024, flows: 1024, violations: 128, ring_bytes: 65536 };
    let t = std::time::Instant::now();
    let (mut dp, mut ev) = Dataplane::open(&root, sizes).unwrap_or_else(|e| panic!("{e}"));
    println!("open {:?} {:?}", t.elapsed(), dp.sizes());
    let policy = Policy::default();
    let tables = compile(&policy, &Limits { devices: 1024, rules: 1024, rows: 1000 }).unwrap();
    for _ in 0..3 {
        let t = std::time::Instant::now();
        let a = dp.apply(tables.clone(), &Default::default()).unwrap();
        println!("apply gen {} rev {} {:?}", a.generation, a.tables.revision, t.elapsed());
    }
    dp.set_interface(1, InterfaceRow { counter: 1, unmanaged: 2, management: 0, pad: [0; 2] }).unwrap();
    let f = [0u8; 60];
    println!("{:?}", dp.test_run(&f).unwrap());
    println!("{:?}", dp.test_run(&f).unwrap());
    println!("{:?}", ev.next_event());
    println!("{:?}", ev.next_event());
    let t = std::time::Instant::now();
    println!("{:?} {:?}", dp.drain_repeats().unwrap(), t.elapsed());
    println!("{:?} {:?}", dp.tally().unwrap(), dp.interface_counts(1).unwrap());
    println!("{:?}", probe::interfaces().unwrap());
    println!("{:?}", probe::own_addresses().unwrap());
}
