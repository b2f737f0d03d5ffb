//! A plant in one process: network namespaces with real OT traffic, so that enforcement is proved and not modelled.
//!
//! In: a topology (routed or bridged). Out: hosts with addresses, traffic that counts itself, and what arrived at the PLC.
//! Nothing outlives the process, however it ends: the namespaces have no name, the mounts are private to one thread, and
//! each child asks the kernel to be killed with the thread that started it.

pub mod agent;
pub mod attack;
pub mod barrage;
pub mod churn;
pub mod dhcp;
pub mod dns;
pub mod dual;
pub mod echo;
pub mod frames;
pub mod link;
pub mod modbus;
pub mod namespace;
pub mod napi;
pub mod onslaught;
pub mod poller;
pub mod program;
pub mod requirements;
pub mod room;
pub mod siem;
pub mod sniffer;
pub mod source;
pub mod spent;
pub mod stacks;
pub mod stream;
mod sys;
pub mod topology;
pub mod traffic;
pub mod wait;
pub mod wire;
pub mod xdp;

pub use agent::{Agent, agent_binary};
pub use barrage::Barrage;
pub use echo::EchoStream;
pub use link::Mac;
pub use namespace::Namespace;
pub use poller::Poller;
pub use requirements::{lab_for, requirements};
pub use room::Room;
pub use sniffer::Sniffer;
pub use topology::{Gateway, Host, Lab, Topology};
pub use wait::{interrupted, on_interrupt};
pub use wire::Seen;
