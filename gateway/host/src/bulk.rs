//! Makes a component interruptible while it works on much memory at once.
//!
//! A guest reads the clock at its loops and calls. `memory.fill`, `memory.copy` and `memory.init` are one instruction
//! each, however much they touch, and the system may take ten milliseconds and more to hand out fresh pages for one of
//! them. So, before a component is compiled, each is made conditional: up to [`CHUNK`] bytes it stays as it is, and for
//! more there is a call of a function that does the same in a loop. What it does stays the same but for one thing that
//! nobody can see: where the original traps before it writes, the loop may have written, and no instance outlives its
//! trap.
//!
//! The sections of types, functions and code are written anew, and only in a module that has such an instruction; the
//! contents of all others are copied. What comes out is validated by the compiler like anything else.

use std::ops::Range;

use wasm_encoder::{
    BlockType, CodeSection, Component, ComponentSectionId, Encode, Function, Instruction, InstructionSink,
    Module, RawSection, SectionId, ValType,
};
use wasmparser::{CompositeInnerType, Encoding, FunctionBody, Operator, Parser, Payload, Result, TypeRef};
use wasmtime::error::Context as _;

/// How many bytes are worked on between two looks at the clock: sixteen pages.
const CHUNK: i32 = 64 << 10;

/// The operands of all three instructions. What a fill takes for its source is a byte.
const TARGET: u32 = 0;
const SOURCE: u32 = 1;
const LENGTH: u32 = 2;

/// The binary form of the type of all three instructions: three numbers in, none out.
const TYPE: [u8; 6] = [0x60, 3, 0x7f, 0x7f, 0x7f, 0];

/// An instruction that works on as much memory as its operands say, with what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bulk {
    Fill { memory: u32 },
    Copy { to: u32, from: u32 },
    Init { memory: u32, data: u32 },
}

/// What was read of a module.
#[derive(Debug, Default)]
struct Sections<'a> {
    /// Each section's id and where its contents are, in order.
    all: Vec<(u8, Range<usize>)>,
    types: Counted,
    functions: Counted,
    /// How many parameters each type has, where it is a function's. A group of types counts as one item above.
    parameters: Vec<usize>,
    /// The type of each function of its own.
    types_of: Vec<u32>,
    imported_functions: u32,
    bodies: Vec<FunctionBody<'a>>,
}

/// A section that starts with the number of its items.
#[derive(Debug, Default)]
struct Counted {
    items: u32,
    /// Where the first item starts.
    first: usize,
}

/// What is being read: the outermost component, or what lies within it.
#[derive(Debug)]
enum Level<'a> {
    Component(Component),
    Module(Sections<'a>),
}

/// The same component, whose guests can be stopped in the midst of each instruction.
pub(crate) fn interruptible(wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
    by_chunks(wasm, CHUNK)
}

fn by_chunks(wasm: &[u8], chunk: i32) -> wasmtime::Result<Vec<u8>> {
    let mut levels = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding: Encoding::Component, .. } => {
                levels.push(Level::Component(Component::new()));
            }
            Payload::Version { encoding: Encoding::Module, .. } => {
                levels.push(Level::Module(Sections::default()));
            }
            // Its header follows as a payload of its own.
            Payload::ModuleSection { unchecked_range, .. }
            | Payload::ComponentSection { unchecked_range, .. } => {
                wasmtime::ensure!(unchecked_range.end <= wasm.len(), "it ends too early");
            }
            Payload::End(_) => {
                let (id, data) = match levels.pop().context("an end without a start")? {
                    Level::Component(component) => (ComponentSectionId::Component, component.finish()),
                    Level::Module(module) => (ComponentSectionId::CoreModule, module.finish(wasm, chunk)?),
                };
                match levels.last_mut() {
                    Some(Level::Component(outer)) => {
                        outer.section(&RawSection { id: id.into(), data: &data });
                    }
                    Some(Level::Module(_)) => wasmtime::bail!("something lies within a module"),
                    None => return Ok(data),
                }
            }
            payload => match levels.last_mut().context("a section without a header")? {
                Level::Component(component) => {
                    if let Some((id, range)) = payload.as_section() {
                        component.section(&RawSection { id, data: &wasm[range] });
                    }
                }
                Level::Module(module) => module.read(payload)?,
            },
        }
    }
    wasmtime::bail!("it ends too early")
}

impl<'a> Sections<'a> {
    fn read(&mut self, payload: Payload<'a>) -> wasmtime::Result<()> {
        if let Some((id, range)) = payload.as_section() {
            self.all.push((id, range));
        }
        match payload {
            Payload::TypeSection(types) => {
                self.types = Counted { items: types.count(), first: types.original_position() };
                for group in types {
                    let group = group?;
                    let parameters = group.types().map(|ty| match &ty.composite_type.inner {
                        CompositeInnerType::Func(function) => function.params().len(),
                        _ => 0,
                    });
                    self.parameters.extend(parameters);
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let is_function = matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                    self.imported_functions += u32::from(is_function);
                }
            }
            Payload::FunctionSection(functions) => {
                self.functions = Counted { items: functions.count(), first: functions.original_position() };
                self.types_of = functions.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            _ => {}
        }
        Ok(())
    }

    /// The module as it is to be compiled.
    fn finish(self, wasm: &[u8], chunk: i32) -> wasmtime::Result<Vec<u8>> {
        let mut bulks = Vec::new();
        let mut code = CodeSection::new();
        wasmtime::ensure!(
            self.types_of.len() == self.bodies.len(),
            "its functions and their bodies differ in number"
        );
        for (body, ty) in self.bodies.iter().zip(&self.types_of) {
            let parameters = *self.parameters.get(*ty as usize).context("a function has no type")?;
            code.raw(&self.rewrite(body, parameters, wasm, chunk, &mut bulks)?);
        }
        for bulk in &bulks {
            code.function(&bulk.in_a_loop(chunk));
        }
        let mut module = Module::new();
        for (id, range) in &self.all {
            let id = *id;
            let is = |section: SectionId| !bulks.is_empty() && id == section as u8;
            if is(SectionId::Type) {
                module.section(&RawSection { id, data: &self.types.with(wasm, range.end, 1, &TYPE)? });
            } else if is(SectionId::Function) {
                let mut types = Vec::new();
                let own = self.own_type()?;
                bulks.iter().for_each(|_| own.encode(&mut types));
                let data = self.functions.with(wasm, range.end, bulks.len(), &types)?;
                module.section(&RawSection { id, data: &data });
            } else if is(SectionId::Code) {
                module.section(&code);
            } else {
                module.section(&RawSection { id, data: &wasm[range.clone()] });
            }
        }
        Ok(module.finish())
    }

    /// The index of the type that is added.
    fn own_type(&self) -> wasmtime::Result<u32> {
        Ok(u32::try_from(self.parameters.len())?)
    }

    /// The function's body, with each instruction of the kind made conditional. Those that are new are added to `bulks`,
    /// in whose order their functions follow the module's own.
    fn rewrite(
        &self,
        body: &FunctionBody<'_>,
        parameters: usize,
        wasm: &[u8],
        chunk: i32,
        bulks: &mut Vec<Bulk>,
    ) -> wasmtime::Result<Vec<u8>> {
        let mut operators = body.get_operators_reader()?;
        let operators_start = operators.original_position();
        let mut copied = operators_start;
        let mut code = Vec::with_capacity(body.range().len());
        let length = u32::try_from(parameters)?.checked_add(locals(body)?).context("too many locals")?;
        while !operators.eof() {
            let start = operators.original_position();
            let Some(bulk) = Bulk::of(&operators.read()?) else { continue };
            let number = bulks.iter().position(|known| *known == bulk).unwrap_or_else(|| {
                bulks.push(bulk);
                bulks.len() - 1
            });
            code.extend_from_slice(&wasm[copied..start]);
            let function = u32::try_from(self.imported_functions as usize + self.types_of.len() + number)?;
            bulk.or_call(function, length, self.own_type()?, chunk, &mut code);
            copied = operators.original_position();
        }
        if copied == operators_start {
            return Ok(wasm[body.range()].to_vec());
        }
        code.extend_from_slice(&wasm[copied..body.range().end]);
        // One number more among its locals: a copy of the length.
        let groups = body.get_locals_reader()?;
        let mut written = Vec::new();
        (groups.get_count() + 1).encode(&mut written);
        written.extend_from_slice(&wasm[groups.original_position()..operators_start]);
        1_u32.encode(&mut written);
        ValType::I32.encode(&mut written);
        written.extend_from_slice(&code);
        Ok(written)
    }
}

/// How many locals the function has, its parameters not among them.
fn locals(body: &FunctionBody<'_>) -> wasmtime::Result<u32> {
    let mut sum = 0_u32;
    for group in body.get_locals_reader()? {
        sum = sum.checked_add(group?.0).context("too many locals")?;
    }
    Ok(sum)
}

impl Counted {
    /// The contents of the section that ends at `end`, with more items after its own.
    fn with(&self, wasm: &[u8], end: usize, more: usize, items: &[u8]) -> wasmtime::Result<Vec<u8>> {
        let mut written = Vec::new();
        self.items.checked_add(u32::try_from(more)?).context("too many items")?.encode(&mut written);
        written.extend_from_slice(&wasm[self.first..end]);
        written.extend_from_slice(items);
        Ok(written)
    }
}

impl Bulk {
    const fn of(operator: &Operator<'_>) -> Option<Self> {
        match *operator {
            Operator::MemoryFill { mem } => Some(Self::Fill { memory: mem }),
            Operator::MemoryCopy { dst_mem, src_mem } => Some(Self::Copy { to: dst_mem, from: src_mem }),
            Operator::MemoryInit { data_index, mem } => Some(Self::Init { memory: mem, data: data_index }),
            _ => None,
        }
    }

    const fn instruction(self) -> Instruction<'static> {
        match self {
            Self::Fill { memory } => Instruction::MemoryFill(memory),
            Self::Copy { to, from } => Instruction::MemoryCopy { dst_mem: to, src_mem: from },
            Self::Init { memory, data } => Instruction::MemoryInit { mem: memory, data_index: data },
        }
    }

    /// The instruction where it works on no more than a chunk, or else the call of its function. `ty` is the type of
    /// both.
    fn or_call(self, function: u32, length: u32, ty: u32, chunk: i32, code: &mut Vec<u8>) {
        let mut to = InstructionSink::new(code);
        to.local_tee(length).local_get(length).i32_const(chunk).i32_gt_u();
        to.if_(BlockType::FunctionType(ty)).call(function).else_();
        self.instruction().encode(code);
        InstructionSink::new(code).end();
    }

    /// A function that does what the instruction does, `chunk` bytes at a time.
    ///
    /// Offsets that pass the end of the 32-bit address space wrap around. Whoever has such operands still traps: the
    /// pieces cover the same addresses, and of these some lie beyond any memory.
    fn in_a_loop(self, chunk: i32) -> Function {
        let mut function = Function::new([]);
        if let Self::Copy { .. } = self {
            // Where the target lies behind the source, copying from the end keeps what is yet to be copied.
            function.instructions().local_get(SOURCE).local_get(TARGET).i32_lt_u().if_(BlockType::Empty);
            self.backwards(&mut function, chunk);
            function.instructions().else_();
            self.forwards(&mut function, chunk);
            function.instructions().end();
        } else {
            self.forwards(&mut function, chunk);
        }
        // What is left, which is all where it is little.
        function.instructions().local_get(TARGET).local_get(SOURCE).local_get(LENGTH);
        function.instruction(&self.instruction());
        function.instructions().end();
        function
    }

    fn forwards(self, function: &mut Function, chunk: i32) {
        while_longer(function, chunk, |function| {
            function.instructions().local_get(TARGET).local_get(SOURCE).i32_const(chunk);
            function.instruction(&self.instruction());
            function.instructions().local_get(TARGET).i32_const(chunk).i32_add().local_set(TARGET);
            if !matches!(self, Self::Fill { .. }) {
                function.instructions().local_get(SOURCE).i32_const(chunk).i32_add().local_set(SOURCE);
            }
            function.instructions().local_get(LENGTH).i32_const(chunk).i32_sub().local_set(LENGTH);
        });
    }

    fn backwards(self, function: &mut Function, chunk: i32) {
        while_longer(function, chunk, |function| {
            let mut to = function.instructions();
            to.local_get(LENGTH).i32_const(chunk).i32_sub().local_set(LENGTH);
            to.local_get(TARGET).local_get(LENGTH).i32_add();
            to.local_get(SOURCE).local_get(LENGTH).i32_add();
            to.i32_const(chunk);
            function.instruction(&self.instruction());
        });
    }
}

/// Repeats while more than a chunk is left.
fn while_longer(function: &mut Function, chunk: i32, body: impl FnOnce(&mut Function)) {
    let mut to = function.instructions();
    to.block(BlockType::Empty).loop_(BlockType::Empty);
    to.local_get(LENGTH).i32_const(chunk).i32_le_u().br_if(1);
    body(function);
    function.instructions().br(0).end().end();
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Memory, Store, TypedFunc};

    use super::*;

    const MODULE: &str = r#"(module
        (import "host" "log" (func))
        (memory (export "memory") 1 1)
        (memory (export "other") 1 1)
        (data $init "0123456789abcdefghijklmnopqrstuvwxyz")
        (func (export "fill") (param i32 i32 i32)
            (memory.fill 0 (local.get 0) (local.get 1) (local.get 2)))
        (func (export "copy") (param i32 i32 i32)
            (memory.copy 0 0 (local.get 0) (local.get 1) (local.get 2)))
        (func (export "across") (param i32 i32 i32)
            (block (memory.copy 1 0 (local.get 0) (local.get 1) (local.get 2)))
            (memory.copy 0 1 (local.get 0) (local.get 0) (local.get 2)))
        (func (export "init") (param i32 i32 i32)
            (memory.init 0 $init (local.get 0) (local.get 1) (local.get 2))))"#;

    const MEMORY: u32 = 64 << 10;

    struct Guest {
        store: Store<()>,
        instance: Instance,
        memory: Memory,
    }

    impl Guest {
        fn new(engine: &Engine, wasm: &[u8]) -> Self {
            let module = wasmtime::Module::new(engine, wasm).unwrap();
            let mut store = Store::new(engine, ());
            let log = wasmtime::Func::wrap(&mut store, || {});
            let instance = Instance::new(&mut store, &module, &[log.into()]).unwrap();
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            for (at, byte) in memory.data_mut(&mut store).iter_mut().enumerate() {
                *byte = (at * 7 % 251) as u8;
            }
            Self { store, instance, memory }
        }

        /// What is in memory after the call, or nothing where it trapped.
        fn call(&mut self, name: &str, operands: (u32, u32, u32)) -> Option<&[u8]> {
            let function: TypedFunc<(u32, u32, u32), ()> =
                self.instance.get_typed_func(&mut self.store, name).unwrap();
            function.call(&mut self.store, operands).ok()?;
            Some(self.memory.data(&self.store))
        }
    }

    /// Where the one module of a component is.
    fn module_of(wasm: &[u8]) -> Range<usize> {
        let found = Parser::new(0).parse_all(wasm).find_map(|payload| match payload.unwrap() {
            Payload::ModuleSection { unchecked_range, .. } => Some(unchecked_range),
            _ => None,
        });
        found.unwrap()
    }

    #[test]
    fn in_pieces_each_instruction_does_what_it_did() {
        let component = wat::parse_str(format!("(component (component (core {}))", &MODULE[1..])).unwrap();
        let engine = Engine::default();
        let rewritten = by_chunks(&component, 16).unwrap();
        let (before, after) = (&component[module_of(&component)], &rewritten[module_of(&rewritten)]);
        assert_ne!(before, after);
        let mut random = fastrand::Rng::with_seed(1);
        let (mut ended, mut trapped) = (0, 0);
        for _ in 0..150 {
            // Near both ends of the memory and of the address space, mostly, with lengths around the chunk's.
            let mut place = || match random.u8(..8) {
                0..3 => random.u32(..100),
                3..5 => MEMORY - random.u32(..100),
                5 => u32::MAX - random.u32(..100),
                _ => random.u32(..MEMORY),
            };
            let (target, source) = (place(), place());
            let length = match random.u8(..8) {
                0..6 => random.u32(..70),
                6 => random.u32(..MEMORY),
                _ => u32::MAX - random.u32(..100),
            };
            for name in ["fill", "copy", "across", "init"] {
                let (mut whole, mut pieces) = (Guest::new(&engine, before), Guest::new(&engine, after));
                let operands = (target, source, length);
                let wanted = whole.call(name, operands);
                assert!(wanted == pieces.call(name, operands), "{name} {operands:?}");
                if wanted.is_some() { ended += 1 } else { trapped += 1 }
            }
        }
        assert!(ended > 100 && trapped > 100, "{ended} calls ended, {trapped} trapped");
    }

    #[test]
    fn a_component_without_such_instructions_stays_as_it_is() {
        let component = wat::parse_str(
            r#"(component (core module (func (export "f") (param i32)) (memory 1) (data (i32.const 0) "x")))"#,
        );
        let component = component.unwrap();
        assert_eq!(interruptible(&component).unwrap(), component);
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let component = wat::parse_str(format!("(component (core {})", &MODULE[1..])).unwrap();
        for length in module_of(&component) {
            assert!(interruptible(&component[..length]).is_err(), "{length} bytes");
        }
    }
}
