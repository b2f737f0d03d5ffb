//! What the verifier says when it refuses a program, cut to what helps.
//!
//! In: its log, which tells every instruction on the way to the refusal and may be megabytes long. Out: the reason,
//! the instruction and, where the object tells it, the source line. The log is no interface: its lines were looked at
//! on Linux 5.10, 6.1, 6.12 and 7.2, and what is not recognised is shown rather than lost.

/// Longest line that is shown, characters: the state of eleven registers can follow an instruction.
const WIDTH: usize = 200;
/// Most lines of a reason: the kernels known give at most two.
const REASONS: usize = 3;

/// The reason for the refusal, then the instruction, then the source line, one a line; empty for an empty log.
pub(super) fn useful(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let end = lines.iter().rposition(|line| !is_statistic(line)).map_or(0, |last| last + 1);
    let lines = &lines[..end];
    let start = lines.iter().rposition(|line| is_trace(line)).map_or(0, |last| last + 1);
    let (trace, reasons) = lines.split_at(start);
    let mut shown: Vec<String> = Vec::new();
    if !reasons.is_empty() {
        let first = reasons.len().saturating_sub(REASONS);
        shown.push(reasons[first..].iter().map(|line| cut(line)).collect::<Vec<_>>().join("; "));
    }
    if let Some(at) = trace.iter().rposition(|line| is_instruction(line)) {
        shown.push(format!("at instruction {}", cut(trace[at])));
        if let Some(source) = trace[..at].iter().rev().find_map(|line| line.strip_prefix(';')) {
            let source = source.trim().trim_start_matches("@ ");
            // An object without its source's text says nothing, or on newer kernels just file and line.
            if !source.is_empty() {
                shown.push(format!("of `{}`", cut(source)));
            }
        }
    }
    shown.join("\n")
}

/// The closing lines, about how much work it was.
fn is_statistic(line: &str) -> bool {
    ["verification time ", "stack depth ", "processed ", "insns processed "]
        .iter()
        .any(|start| line.starts_with(start))
}

/// Lines that tell the way: instructions, register states, sources, and how values were traced back.
fn is_trace(line: &str) -> bool {
    let starts =
        [";", " ", "from ", "regs=", "parent ", "last_idx ", "func#", "mark_precise: ", "propagating "];
    is_instruction(line) || is_state(line) || starts.iter().any(|start| line.starts_with(start))
}

/// `478: (71) r4 = *(u8 *)(r8 +6)`.
fn is_instruction(line: &str) -> bool {
    numbered(line).is_some_and(|rest| rest.starts_with("("))
}

/// `4: R0=inv(id=0) R10=fp0`, `12: frame1: R1_w=...`.
fn is_state(line: &str) -> bool {
    numbered(line).is_some_and(|rest| rest.starts_with('R') || rest.starts_with("frame") || rest.is_empty())
}

fn numbered(line: &str) -> Option<&str> {
    let (number, rest) = line.split_once(':')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| rest.trim_start())
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The first three are ends of real logs, of a program with a mask or a bound taken away; the rest is made up in
    // their shape, for what those do not have.

    #[test]
    fn counter_without_its_mask_on_linux_5_10() {
        let log = "\
regs=200 stack=0 before 288: (79) r5 = *(u64 *)(r10 -104)
regs=200 stack=0 before 287: (71) r9 = *(u8 *)(r7 +205)
369: (79) r1 = *(u64 *)(r0 +0)
 R0_w=map_value(id=0,off=0,ks=4,vs=512,umax_value=2040,var_off=(0x0; 0x7f8)) R6=inv1 R10=fp0
invalid access to map value, value_size=512 off=2040 size=8
R0 max value is outside of the allowed memory range
verification time 70258 usec
stack depth 192+0+0+96+32+24+0+0
processed 746 insns (limit 1000000) max_states_per_insn 0 total_states 52 peak_states 52 mark_read 24
";
        assert_eq!(
            useful(log),
            "invalid access to map value, value_size=512 off=2040 size=8; R0 max value is outside of the allowed memory range\n\
             at instruction 369: (79) r1 = *(u64 *)(r0 +0)"
        );
    }

    #[test]
    fn packet_without_its_bound_on_linux_6_1_has_no_source() {
        let log = "\
; 
477: (2d) if r8 > r7 goto pc+663      ; frame1: R7_w=pkt_end(off=0,imm=0) R8_w=pkt(off=0,r=0,imm=0)
; 
478: (71) r4 = *(u8 *)(r8 +6)
invalid access to packet, off=6 size=1, R8(id=0,off=6,r=0)
R8 offset is outside of the packet
verification time 10322 usec
stack depth 200+0+0+0+0+24+0+0
processed 385 insns (limit 1000000) max_states_per_insn 0 total_states 27 peak_states 27 mark_read 14
";
        assert_eq!(
            useful(log),
            "invalid access to packet, off=6 size=1, R8(id=0,off=6,r=0); R8 offset is outside of the packet\n\
             at instruction 478: (71) r4 = *(u8 *)(r8 +6)"
        );
    }

    #[test]
    fn packet_without_its_bound_on_linux_7_2_has_file_and_line() {
        let log = "\
;  @ packet.rs:36
477: (2d) if r8 > r7 goto pc+663      ; frame1: R7=pkt_end() R8=pkt(r=0)
;  @ mod.rs:552
478: (71) r4 = *(u8 *)(r8 +6)
invalid access to packet, off=6 size=1, R8(id=0,off=6,r=0)
R8 min value is outside of the allowed memory range
verification time 155031 usec
stack depth 200+0+0+0+0+0+0+0 max 0
insns processed 174+0
processed 174 insns (limit 1000000) max_states_per_insn 0 total_states 11 peak_states 11 mark_read 0
";
        assert_eq!(
            useful(log),
            "invalid access to packet, off=6 size=1, R8(id=0,off=6,r=0); R8 min value is outside of the allowed memory range\n\
             at instruction 478: (71) r4 = *(u8 *)(r8 +6)\n\
             of `mod.rs:552`"
        );
    }

    #[test]
    fn source_line_is_shown_where_the_object_has_it() {
        let log = "; counts[code] += 1; @ count.rs:43\n9: (79) r1 = *(u64 *)(r0 +0)\nR0 invalid mem access 'scalar'\n";
        assert_eq!(
            useful(log),
            "R0 invalid mem access 'scalar'\nat instruction 9: (79) r1 = *(u64 *)(r0 +0)\n\
             of `counts[code] += 1; @ count.rs:43`"
        );
    }

    #[test]
    fn reason_without_a_way_to_it_stands_alone() {
        assert_eq!(useful("unreachable insn 12\nprocessed 0 insns (limit 1000000)\n"), "unreachable insn 12");
        assert_eq!(useful(""), "");
    }

    #[test]
    fn long_state_is_cut() {
        let log =
            format!("1: (07) r1 += 2   ; {}\nR1 pointer arithmetic prohibited\n", "R1=scalar ".repeat(90));
        let shown = useful(&log);
        assert!(shown.lines().all(|line| line.chars().count() < WIDTH + 30), "{shown}");
        assert!(shown.starts_with("R1 pointer arithmetic prohibited\nat instruction 1: "), "{shown}");
    }
}
