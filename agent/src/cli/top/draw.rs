//! What `top` looks like. In: the state. Out: cells; which of them changed is for the terminal to find.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Block, Clear, Paragraph, Row, Table, TableState, Wrap},
};
use serde_json::Value;

use super::{
    flows, keys,
    state::{List, Over, State},
    status::headline,
    violations,
};
use crate::control::{DeviceStatus, FlowStatus, Status};

/// Lines for devices at the least, their header included.
const DEVICES: u16 = 5;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let Some(seen) = &state.seen else {
        let said = state.failed.as_deref().unwrap_or("asking the agent ...");
        frame.render_widget(Paragraph::new(said), frame.area());
        return;
    };
    let warnings = u16::from(!seen.status.warnings.is_empty());
    let parts = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(warnings),
        Constraint::Length(1),
        Constraint::Min(DEVICES),
        Constraint::Percentage(28),
        Constraint::Percentage(34),
        Constraint::Length(1),
    ]);
    let [head, warning, total, devices, flows, violations, foot] = parts.areas(frame.area());
    frame.render_widget(heading(&seen.status), head);
    if let [first, more @ ..] = seen.status.warnings.as_slice() {
        let first = first.lines().next().unwrap_or_default();
        let more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
        frame.render_widget(Paragraph::new(format!("! {first}{more}")).style(loud()), warning);
    }
    frame.render_widget(Paragraph::new(totals(state)), total);
    draw_devices(frame, state, devices);
    draw_flows(frame, state, flows);
    draw_violations(frame, state, violations);
    frame.render_widget(footer(state), foot);
    match &state.over {
        Over::Nothing | Over::Filter => {}
        Over::Help => page(frame, "keys", keys::HELP.lines().map(str::to_owned).collect(), 0),
        Over::Confirm { question, act: _ } => page(frame, "change", vec![question.clone()], 0),
        Over::Page { lines, from } => page(frame, "record (any key closes)", lines.clone(), *from),
    }
}

fn loud() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

fn quiet() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

fn heading(status: &Status) -> Paragraph<'static> {
    let headline = headline(status);
    let style = if headline.starts_with("NOT") {
        loud()
    } else {
        Style::new().fg(if headline == "ENFORCING" { Color::Green } else { Color::Yellow })
    };
    let count = |mode: &str| status.modes.get(mode).copied().unwrap_or(0);
    Paragraph::new(format!(
        "{}: {headline}  {} enforce, {} monitor, {} quarantine  revision {}",
        status.gateway,
        count("enforce"),
        count("monitor"),
        count("quarantine"),
        status.revision
    ))
    .style(style.add_modifier(Modifier::BOLD))
}

fn totals(state: &State) -> String {
    let flows = state.seen.as_ref().map(|seen| (seen.status.flows, seen.status.flows_limit));
    let flows = flows.map(|(flows, most)| format!("  flows {flows} of {most}")).unwrap_or_default();
    let rates = state.total.map_or_else(
        || "packets/s: asking ...".to_owned(),
        |total| {
            format!(
                "packets/s: {} seen, {} passed, {} dropped, {} would be dropped",
                per_second(total.seen),
                per_second(total.passed),
                per_second(total.dropped),
                per_second(total.would_drop)
            )
        },
    );
    rates + &flows
}

/// Like `0`, `0.4`, `87` or `1.2M`.
pub(super) fn per_second(rate: f64) -> String {
    match rate {
        rate if rate < 0.05 => "0".to_owned(),
        rate if rate < 9.95 => format!("{rate:.1}"),
        rate if rate < 99_999.5 => format!("{rate:.0}"),
        rate if rate < 999_999.5 => format!("{:.0}k", rate / 1000.0),
        rate => format!("{:.1}M", rate / 1_000_000.0),
    }
}

fn titled(title: String, active: bool) -> Block<'static> {
    let style = if active { Style::new().add_modifier(Modifier::BOLD) } else { quiet() };
    Block::new().borders(ratatui::widgets::Borders::TOP).title(Line::from(title).style(style))
}

fn header(words: &[&'static str]) -> Row<'static> {
    Row::new(words.to_vec()).style(quiet())
}

/// A list with one row marked, scrolled so that it is seen.
fn list(frame: &mut Frame<'_>, table: Table<'_>, at: Option<usize>, active: bool, area: Rect) {
    let marked = if active { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
    let table = table.row_highlight_style(marked).highlight_symbol("> ");
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(at));
}

fn draw_devices(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let devices = state.devices();
    let all = state.seen.as_ref().map_or(0, |seen| seen.devices.len());
    let rows = devices.iter().map(|device| device_row(state, device));
    let widths = [
        Constraint::Min(16),
        Constraint::Length(21),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(12),
        Constraint::Length(12),
    ];
    let names = ["DEVICE", "MODE", "CRITICAL", "ALLOWED/S", "DENIED/S", "ALLOWED", "DENIED"];
    let title = if state.filter.is_empty() {
        format!(" devices ({all}) ")
    } else {
        format!(" devices ({} of {all}, with `{}`) ", devices.len(), state.filter)
    };
    let active = state.list == List::Devices;
    let table = Table::new(rows, widths).header(header(&names)).block(titled(title, active));
    list(frame, table, state.at_device(), active, area);
}

fn device_row(state: &State, device: &DeviceStatus) -> Row<'static> {
    let rates = state.rates.get(&device.name).copied();
    let rate =
        |of: fn(super::state::Rates) -> f64| rates.map(|rates| per_second(of(rates))).unwrap_or_default();
    let mode = match &device.changed {
        Some(_) => format!("{} (by hand)", device.mode),
        None => device.mode.clone(),
    };
    let style = match (device.mode.as_str(), rates.is_some_and(|rates| rates.denied > 0.0)) {
        ("quarantine", _) => Style::new().fg(Color::Magenta),
        (_, true) => Style::new().fg(Color::Yellow),
        (_, false) => Style::new(),
    };
    Row::new([
        device.name.clone(),
        mode,
        device.criticality.clone(),
        rate(|rates| rates.allowed),
        rate(|rates| rates.denied),
        device.allowed.to_string(),
        device.denied.to_string(),
    ])
    .style(style)
}

fn draw_flows(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let title = match (state.device(), state.flows()) {
        (None, _) => " conversations: no device is selected ".to_owned(),
        (Some(device), None) => format!(" conversations of {device}: asking ... "),
        (Some(device), Some(flows)) => {
            let more = if flows.more > 0 { format!(", {} not shown", flows.more) } else { String::new() };
            format!(" conversations of {device} ({} live, {} over{more}) ", flows.live, flows.expired)
        }
    };
    let rows = state.flows().into_iter().flat_map(|list| &list.flows).map(flow_row);
    let widths = [
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(12),
        Constraint::Length(11),
        Constraint::Length(4),
        Constraint::Length(7),
        Constraint::Fill(2),
    ];
    let names = ["FROM", "TO", "SERVICE", "STATE", "IDLE", "BYTES", "RULE"];
    let table = Table::new(rows, widths).header(header(&names)).block(titled(title, false));
    frame.render_widget(table, area);
}

fn flow_row(flow: &FlowStatus) -> Row<'static> {
    let style = if flow.live { Style::new() } else { quiet() };
    Row::new([
        flows::who(&flow.from),
        flows::who(&flow.to),
        flow.service.clone(),
        flows::state(flow),
        super::super::devices::left(flow.idle_seconds),
        flows::volume(flow.bytes_from.saturating_add(flow.bytes_to)),
        flows::rule(flow),
    ])
    .style(style)
}

fn draw_violations(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let records = state.violations();
    let rows = records.iter().map(|record| violation_row(record));
    let active = state.list == List::Violations;
    let title = format!(" violations, newest first ({}) ", records.len());
    let table = Table::new(rows, [Constraint::Fill(1)]).block(titled(title, active));
    list(frame, table, state.at_violation(), active, area);
}

fn violation_row(record: &Value) -> Row<'static> {
    let style = match record["severity"].as_str() {
        Some("critical" | "high") => Style::new().fg(Color::Red),
        Some(_) | None => Style::new(),
    };
    Row::new([violations::short(record)]).style(style)
}

fn footer(state: &State) -> Paragraph<'static> {
    if state.over == Over::Filter {
        return Paragraph::new(format!("filter: {}_  (Enter keeps it, Escape shows all)", state.filter));
    }
    if let Some(failed) = &state.failed {
        return Paragraph::new(format!("what is shown is old: {failed}")).style(loud());
    }
    match &state.message {
        Some(message) => Paragraph::new(message.clone()),
        None => Paragraph::new("q end  Tab list  / filter  m mode  Q quarantine  r release  w why  ? help")
            .style(quiet()),
    }
}

/// Lines over everything else.
fn page(frame: &mut Frame<'_>, title: &str, lines: Vec<String>, from: usize) {
    let whole = frame.area();
    let width = whole.width.saturating_sub(4).max(1);
    let needed: usize =
        lines.iter().map(|line| 1 + line.chars().count() / usize::from(width.max(3) - 2)).sum();
    let height = u16::try_from(needed + 2).unwrap_or(u16::MAX).min(whole.height.saturating_sub(2)).max(3);
    let area = Rect {
        x: whole.x + whole.width.saturating_sub(width) / 2,
        y: whole.y + whole.height.saturating_sub(height) / 2,
        width,
        height: height.min(whole.height),
    };
    frame.render_widget(Clear, area);
    let lines: Vec<Line<'static>> = lines.into_iter().skip(from).map(Line::from).collect();
    let text = Paragraph::new(lines).wrap(Wrap { trim: false });
    frame.render_widget(text.block(Block::bordered().title(format!(" {title} "))), area);
}
