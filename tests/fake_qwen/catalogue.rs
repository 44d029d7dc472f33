//! The model list, with the fields of 2025 and 2026.

use serde_json::{Value, json};

pub(super) struct Model {
    id: &'static str,
    name: &'static str,
    /// 2025 entries lack `abilities`, `think_skip` and `modality`.
    year: u16,
    context: u32,
    output: u32,
    /// 0: no thinking, 1: one mode, 3: the modes auto, thinking and fast.
    thinking: u8,
    /// The maximum thinking budget, of models with an explicit budget.
    budget: Option<u32>,
    modality: &'static [&'static str],
    must_think: bool,
}

const TEXT: &[&str] = &["text"];
const VISION: &[&str] = &["text", "image", "video"];
const OMNI: &[&str] = &["text", "image", "video", "audio"];

const fn model(id: &'static str, name: &'static str, year: u16, context: u32, output: u32) -> Model {
    Model { id, name, year, context, output, thinking: 0, budget: None, modality: TEXT, must_think: false }
}

const MODELS: &[Model] = &[
    Model { thinking: 3, modality: VISION, ..model("qwen3.7-plus", "Qwen3.7-Plus", 2026, 1_000_000, 65_536) },
    Model {
        thinking: 3,
        modality: VISION,
        must_think: true,
        ..model("qwen3.8-max", "Qwen3.8-Max", 2026, 1_000_000, 131_072)
    },
    Model { thinking: 1, budget: Some(81_920), ..model("qwen3.7-max", "Qwen3.7-Max", 2026, 1_000_000, 65_536) },
    Model { modality: OMNI, ..model("qwen3.5-omni-plus", "Qwen3.5-Omni-Plus", 2026, 262_144, 65_536) },
    Model { thinking: 1, budget: Some(81_920), ..model("qwen3-max", "Qwen3-Max", 2026, 262_144, 32_768) },
    Model {
        thinking: 1,
        budget: Some(81_920),
        modality: VISION,
        ..model("qwen3-vl-plus", "Qwen3-VL-Plus", 2026, 262_144, 32_768)
    },
    model("qwen3-coder-plus", "Qwen3-Coder-Plus", 2026, 1_048_576, 65_536),
    Model { modality: OMNI, ..model("qwen3-omni-flash", "Qwen3-Omni-Flash", 2026, 65_536, 13_684) },
    Model {
        thinking: 1,
        budget: Some(38_912),
        modality: VISION,
        ..model("qwen-plus-2025-09-11", "Qwen-Plus", 2025, 1_000_000, 32_768)
    },
    Model { thinking: 1, budget: Some(38_912), ..model("qwen-turbo-2025-02-11", "Qwen-Turbo", 2025, 1_000_000, 8_192) },
    Model { thinking: 1, ..model("qwq-32b", "QwQ-32B", 2025, 131_072, 8_192) },
];

/// The model with this id.
pub(super) fn find(id: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.id == id)
}

/// All models as the `data` array of the lists.
pub(super) fn list() -> Vec<Value> {
    MODELS.iter().map(Model::json).collect()
}

impl Model {
    pub(super) fn thinks(&self) -> bool {
        self.thinking > 0
    }

    /// Whether the model rejects `thinking_enabled: false`.
    pub(super) fn must_think(&self) -> bool {
        self.must_think
    }

    fn json(&self) -> Value {
        let created = if self.year >= 2026 { 1_787_000_000 } else { 1_739_260_800 };
        json!({
            "id": self.id, "name": self.name, "object": "model", "owned_by": "qwen",
            "preset": true, "action_ids": [],
            "info": {
                "id": self.id, "user_id": "00000000-0000-4000-8000-0000000000aa",
                "base_model_id": null, "name": self.name, "meta": self.meta(),
                "access_control": null, "is_active": true, "is_visitor_active": true,
                "updated_at": created, "created_at": created
            }
        })
    }

    fn meta(&self) -> Value {
        let takes = |kind| self.modality.contains(&kind);
        let mut meta = json!({
            "profile_image_url": "/static/favicon.png",
            "description": format!("{} as the fake upstream plays it.", self.name),
            "short_description": "A model that repeats what it is told.",
            "capabilities": {
                "vision": takes("image"), "document": true, "video": takes("video"), "audio": takes("audio"),
                "citations": true, "thinking": self.thinks(), "thinking_budget": self.thinks(), "search": true
            },
            "max_context_length": self.context,
            "is_single_round": 0,
            "chat_type": ["t2t", "t2v", "t2i", "image_edit", "search", "artifacts", "web_dev", "deep_research", "travel", "learn", "slides"],
            "mcp": ["image-generation", "code-interpreter", "amap", "fire-crawl"]
        });
        let output = if self.thinks() { "max_summary_generation_length" } else { "max_generation_length" };
        meta[output] = self.output.into();
        if let Some(budget) = self.budget {
            meta["max_thinking_generation_length"] = budget.into();
        }
        if self.year >= 2026 {
            let one = |on: bool| u8::from(on);
            meta["abilities"] = json!({
                "vision": one(takes("image")), "document": 1, "video": one(takes("video")), "audio": one(takes("audio")),
                "mcp": 1, "citations": 1, "thinking": self.thinking, "thinking_budget": one(self.thinks()), "parse_url": 2
            });
            meta["modality"] = json!(self.modality);
            meta["think_skip"] = json!({"enable": !self.must_think});
            meta["auto_search"] = true.into();
        }
        if self.thinking == 3 {
            meta["auto_thinking"] = true.into();
            meta["thinking_format"] = "summary".into();
            meta["max_generation_length"] = self.output.into();
        }
        meta
    }
}
