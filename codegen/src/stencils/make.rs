//! From a function of Cranelift's to a stencil.
//!
//! Stencils run one after the other in one frame, which whoever enters them sets up. So what the
//! function does to set one up is cut off at its begin, and what takes it down at each of its ends,
//! with the jump that follows where that leads to what comes next. (Registers that it saves for its
//! caller it saves behind that, and takes back before: they stay.) Each function is compiled twice,
//! with other numbers in its holes: where the code differs, there the holes are.
//!
//! Whatever isn't of the expected shape is refused, here and by [`Machine`].

use super::{
    actions,
    key::{Action, Key},
    machine::Machine,
    stencil::{Field, Hole, Link, Stencil, StencilError},
    writer::{MAKINGS, Symbol, Writer, limb_of},
};
use cranelift_codegen::{
    Context, FinalizedRelocTarget,
    binemit::Reloc,
    control::ControlPlane,
    ir::{ExternalName, Function},
    isa::TargetIsa,
};
use cranelift_frontend::FunctionBuilderContext;
use std::ops::Range;

/// Makes stencils for one machine, with allocations that it keeps.
pub(super) struct Maker<'a> {
    isa: &'a dyn TargetIsa,
    machine: Machine,
    context: Context,
    scratch: FunctionBuilderContext,
    control_plane: ControlPlane,
}

/// What Cranelift made of a function.
struct Making {
    code: Vec<u8>,
    exits: Vec<Exit>,
    /// Numbers of 64 bits: (offset, number).
    limbs: Vec<(usize, u8)>,
    /// Basic blocks: where they begin.
    blocks: Vec<usize>,
    /// Where the block that begins there leads.
    edges: Vec<(usize, usize)>,
    calls: bool,
    after: Option<super::key::Top>,
}

/// A tail call.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exit {
    place: Range<usize>,
    symbol: Symbol,
}

impl<'a> Maker<'a> {
    pub(super) fn new(isa: &'a dyn TargetIsa, machine: Machine) -> Self {
        Self {
            isa,
            machine,
            context: Context::new(),
            scratch: FunctionBuilderContext::new(),
            control_plane: ControlPlane::default(),
        }
    }

    /// What the function of a key sets up its frame by.
    pub(super) fn prologue(&mut self, key: Key) -> Result<Vec<u8>, StencilError> {
        let mut code = self.compile(key, 0)?.code;
        let what = "it begins otherwise";
        let len = self.machine.prologue(&code).ok_or(StencilError::Shape { key, what })?;
        code.truncate(len);
        Ok(code)
    }

    /// Makes the stencil of a key.
    pub(super) fn make(&mut self, key: Key) -> Result<Stencil, StencilError> {
        let shape = |what| StencilError::Shape { key, what };
        let first = self.compile(key, 0)?;
        let second = self.compile(key, 1)?;
        let begin = self.machine.prologue(&first.code).ok_or(shape("it begins otherwise"))?;
        let is_alike = first.code.len() == second.code.len()
            && (&first.exits, &first.limbs) == (&second.exits, &second.limbs)
            && (&first.blocks, &first.edges) == (&second.blocks, &second.edges);
        if !is_alike {
            return Err(shape("it depends on the numbers in its holes"));
        }
        let mut holes = find_holes(self.machine, [&first.code, &second.code])
            .map_err(|()| shape("a number is written in an unknown way"))?;
        let limbs = first.limbs.iter();
        holes.extend(limbs.map(|&(at, number)| Hole { at: at as u32, field: Field::Limb, number }));
        let cut = cut_ends(self.machine, &first);
        let Cut { mut code, mut links, end } = cut;
        code.truncate(end);
        code.drain(..begin);
        let begin = begin as u32;
        holes.retain_mut(|hole| {
            let is_there = (hole.at as usize) < end;
            hole.at = hole.at.wrapping_sub(begin);
            is_there
        });
        links.iter_mut().for_each(|(link, _)| link.at -= begin);
        let is_leave = matches!(key.action, Action::Leave(_));
        let finds_target = matches!(key.action, Action::FindTarget | Action::FindTargetIf);
        let is_body = !is_leave
            && (holes.is_empty() || finds_target)
            && links.iter().all(|(_, to)| matches!(to, Symbol::Next | Symbol::Leave(_)));
        Ok(Stencil {
            code: code.into(),
            holes: holes.into(),
            links: links.into(),
            after: first.after,
            calls: first.calls,
            is_leave,
            is_body,
        })
    }

    fn compile(&mut self, key: Key, making: usize) -> Result<Making, StencilError> {
        self.context.clear();
        self.context.func = Function::new();
        let target = self.isa.frontend_config();
        let func = &mut self.context.func;
        let mut writer = Writer::new(func, key.top, &MAKINGS[making], target, &mut self.scratch);
        actions::write(key, &mut writer);
        let after = writer.finish().map_err(|what| StencilError::Shape { key, what })?;
        let compiled = self
            .context
            .compile(self.isa, &mut self.control_plane)
            .map_err(|error| StencilError::Cranelift { key, error: error.inner })?;
        let code = compiled.code_buffer().to_vec();
        let sites = compiled.buffer.call_sites().count();
        let offsets = |offset: u32| offset as usize;
        let blocks = compiled.bb_starts.iter().copied().map(offsets).collect();
        let edges =
            compiled.bb_edges.iter().map(|&(from, to)| (from as usize, to as usize)).collect();
        let relocations = compiled.buffer.relocs().to_vec();
        let (mut exits, mut limbs) = (Vec::new(), Vec::new());
        for relocation in relocations {
            let shape = |what| StencilError::Shape { key, what };
            let FinalizedRelocTarget::ExternalName(ExternalName::User(name)) = relocation.target
            else {
                return Err(shape("it refers to what isn't a name"));
            };
            let name = &self.context.func.params.user_named_funcs()[name];
            let at = relocation.offset as usize;
            match (relocation.kind, Symbol::of(name), limb_of(name)) {
                (Reloc::X86CallPCRel4 | Reloc::Arm64Call, Some(symbol), _) => {
                    let place =
                        self.machine.tail_call(&code, at).ok_or(shape("it ends otherwise"))?;
                    exits.push(Exit { place, symbol });
                }
                (Reloc::Abs8, _, Some(number)) => limbs.push((at, number)),
                _ => return Err(shape("it refers to a name in an unknown way")),
            }
        }
        if exits.is_empty() != matches!(key.action, Action::Leave(_)) {
            return Err(StencilError::Shape { key, what: "it has no end" });
        }
        let calls = sites > exits.len();
        Ok(Making { code, exits, limbs, blocks, edges, calls, after })
    }
}

/// Finds the numbers that differ between two makings.
fn find_holes(machine: Machine, codes: [&[u8]; 2]) -> Result<Vec<Hole>, ()> {
    let [first, second] = MAKINGS;
    let numbers = [
        (0, [first.words[0], second.words[0]]),
        (1, [first.words[1], second.words[1]]),
        (0, [first.byte, second.byte]),
    ];
    let (mut holes, mut at) = (Vec::new(), 0);
    while at < codes[0].len() {
        if codes[0][at] == codes[1][at] {
            at += 1;
            continue;
        }
        let found = numbers.iter().find_map(|&(number, values)| {
            let (field, begin, end) = machine.field(codes, at, values)?;
            Some((Hole { at: begin as u32, field, number }, end))
        });
        let (hole, end) = found.ok_or(())?;
        holes.push(hole);
        at = end;
    }
    Ok(holes)
}

/// Code whose ends are cut off or are links.
struct Cut {
    code: Vec<u8>,
    links: Vec<(Link, Symbol)>,
    /// Where it ends.
    end: usize,
}

/// Leads branches to a tail call straight to where that leads, cuts off what is at the end of the
/// code and not needed any more, or leads to what follows, and makes jumps of the other tail calls.
fn cut_ends(machine: Machine, making: &Making) -> Cut {
    let Making { exits, blocks, edges, .. } = making;
    let mut code = making.code.clone();
    let (mut links, mut live) = (Vec::new(), vec![true; exits.len()]);
    for (exit, live) in exits.iter().zip(&mut live) {
        let start = exit.place.start;
        let ways = edges.iter().filter(|&&(_, to)| to == start);
        if !blocks.contains(&start) || ways.clone().next().is_none() {
            continue;
        }
        let links_of: Option<Vec<Link>> = ways
            .map(|&(from, _)| {
                let next = blocks.iter().copied().filter(|&block| block > from).min();
                machine.branch_to(&code, next.unwrap_or(code.len()), start)
            })
            .collect();
        if let Some(found) = links_of {
            links.extend(found.into_iter().map(|link| (link, exit.symbol)));
            *live = false;
        }
    }
    let (mut end, mut falls_through) = (code.len(), false);
    while !falls_through
        && let Some(last) = exits.iter().position(|exit| exit.place.end == end)
        && (!live[last] || exits[last].symbol == Symbol::Next)
    {
        falls_through = live[last];
        live[last] = false;
        end = exits[last].place.start;
    }
    for (exit, _) in exits.iter().zip(&live).filter(|(exit, live)| **live && exit.place.end <= end)
    {
        let link = machine.jump_in(&mut code[exit.place.clone()], exit.place.start);
        links.push((link, exit.symbol));
    }
    Cut { code, links, end }
}
