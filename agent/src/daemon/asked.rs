//! What is asked on the control socket, and who answers it.

use std::time::Duration;

use super::{
    agent::{Agent, user, world},
    changes::Wanted,
    input::{Answering, Asked},
    plan,
    shadow::WantedShadow,
    stages::Step,
};
use crate::{
    control::{Body, Failure, File, Reply, Request},
    dataplane::EventReader,
    policy::SourceFile,
    store::{Who, audit::Action},
};

impl Agent {
    pub(super) fn asked(&mut self, asked: Asked, events: &mut EventReader) {
        let Asked { request, by, answer } = asked;
        match answer {
            Answering::Once(back) => {
                if let Request::Plan { files, hops, recent } = request {
                    self.collect(events);
                    return self.plan(plan::Wanted { files, hops, recent }, back);
                }
                if let Request::Status = request {
                    self.collect(events);
                    return self.tell_status(events.foreign(), back);
                }
                if let Request::Shadow = request {
                    return self.tell_shadow(back);
                }
                if let Request::InForce { write } = request {
                    if write {
                        // What was denied up to now belongs into the history that is written.
                        self.collect(events);
                    }
                    return self.tell_in_force(write, back);
                }
                if let Request::Inventory { after } = request {
                    return self.tell_inventory(after, back);
                }
                if reads_counters(&request) {
                    self.sweep();
                }
                if let Request::Flows { of, last } = request {
                    return self.flows(of, last, back);
                }
                let reply = match self.answer(request, &by) {
                    Ok(body) => Reply::Ok(Box::new(body)),
                    Err(failure) => Reply::Error(failure),
                };
                // Whoever asked may have left; that is his affair.
                let _ = back.send(reply);
            }
            Answering::Stream(back) => {
                if let Request::Violations { last, follow: _ } = request {
                    self.collect(events);
                    for record in self.reporter.recent(last) {
                        // The queue is as long as the list of recent records.
                        let record = serde_json::to_value(record).expect("a record is strings and numbers");
                        if back.try_send(Reply::Ok(Box::new(Body::Violation(record)))).is_err() {
                            return;
                        }
                    }
                    let _ = back.try_send(Reply::Ok(Box::new(Body::End)));
                }
            }
        }
    }

    fn answer(&mut self, request: Request, by: &Who) -> Result<Body, Failure> {
        match request {
            Request::Devices => self.devices().map(Body::Devices).map_err(world),
            Request::Rules => self.rules().map(Body::Rules).map_err(world),
            Request::Why { from, to, service } => {
                self.why(&from, &to, &service).map(|answer| Body::Why(Box::new(answer)))
            }
            Request::Explain { id } => self.explain(&id).map(|told| Body::Explained(Box::new(told))),
            Request::Mode { device, mode, reason } => {
                self.change_mode(&device, &mode, reason, by).map(Body::Applied)
            }
            Request::Release { device, reason } => self.release(&device, reason, by).map(Body::Applied),
            Request::Apply { files, from, only, confirm_within, allow_older, watch, reason } => {
                let files = files.map(sources);
                let confirm_within = confirm_within.map(Duration::from_secs);
                let watch = watch.map(Duration::from_secs);
                let wanted = Wanted { files, from, only, confirm_within, allow_older, watch, reason };
                self.apply(Action::Apply, wanted, by).map(Body::Applied)
            }
            Request::Status
            | Request::Plan { .. }
            | Request::Flows { .. }
            | Request::Shadow
            | Request::Inventory { .. }
            | Request::InForce { .. } => Err(user("this is answered beside the others")),
            Request::Confirm { reason } => self.confirm(reason, by).map(Body::Applied),
            Request::Rollback { to, reason } => self.rollback(to.as_deref(), reason, by).map(Body::Applied),
            Request::Drift => self.drift_now().map(Body::Drift),
            Request::Revisions => self.revisions().map(Body::Revisions),
            Request::Rollout => Ok(Body::Rollout(self.rollout_status())),
            Request::Acknowledge { device, reason } => {
                self.acknowledge(&device, &reason, by).map(Body::Applied)
            }
            Request::ShadowSet { files, from, reason } => {
                let files = files.map(sources);
                self.set_shadow(WantedShadow { files, from, reason }, by).map(Body::Applied)
            }
            Request::ShadowClear { reason } => self.clear_shadow(reason, by).map(Body::Applied),
            Request::Advance { device, stage, policy, accepted, criteria, force, reason } => {
                let step = Step { device, stage, policy, accepted, criteria, force, reason };
                self.advance(step, by).map(Body::Applied)
            }
            Request::StepBack { device, reason } => self.step_back(&device, &reason, by).map(Body::Applied),
            Request::Accept { device, id, what, reason } => {
                self.accept(&device, &id, what, &reason, by).map(Body::Applied)
            }
            Request::Violations { .. } => Err(user("`violations` is a stream")),
        }
    }
}

fn sources(files: Vec<File>) -> Vec<SourceFile> {
    files.into_iter().map(|file| SourceFile { path: file.path, text: file.text }).collect()
}

/// Whether its answer has counters in it that packets move. `status`, plans and violations take over all that the kernel has to tell.
fn reads_counters(request: &Request) -> bool {
    match request {
        Request::Devices | Request::Rules | Request::Flows { .. } => true,
        Request::Status
        | Request::Plan { .. }
        | Request::Violations { .. }
        | Request::Why { .. }
        | Request::Explain { .. }
        | Request::Mode { .. }
        | Request::Release { .. }
        | Request::Apply { .. }
        | Request::Confirm { .. }
        | Request::Rollback { .. }
        | Request::Drift
        | Request::Rollout
        | Request::Shadow
        | Request::ShadowSet { .. }
        | Request::ShadowClear { .. }
        | Request::InForce { .. }
        | Request::Advance { .. }
        | Request::StepBack { .. }
        | Request::Accept { .. }
        | Request::Inventory { .. }
        | Request::Acknowledge { .. }
        | Request::Revisions => false,
    }
}
