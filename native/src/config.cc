#include "config.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "error.h"

namespace mv2 {

namespace {

// `value` rounded to a multiple, at least `least`, never more than 10 % below `value`.
int round_channels(double value, int multiple, int least) {
    int rounded = std::max(least, static_cast<int>(value + multiple / 2.0) / multiple * multiple);
    return rounded < 0.9 * value ? rounded + multiple : rounded;
}

// Fields of config.json, checked as they are read.
class Fields {
 public:
    Fields(const Json& json, const std::string& name) : json_(json), name_(name) {
        if (json.kind != Json::object)
            fail_file(name + " must be a JSON object.");
    }

    const Json* find(const char* field) const {
        const Json* value = json_.find(field);
        return value && value->kind != Json::null ? value : nullptr;
    }

    double real(const char* field, double otherwise, double low, double high) const {
        const Json* value = find(field);
        return value ? number(*value, field, low, high) : otherwise;
    }

    int whole(const char* field, int otherwise, int low, int high) const {
        const Json* value = find(field);
        return value ? integer(*value, field, low, high) : otherwise;
    }

    std::vector<int> wholes(const char* field, std::vector<int> otherwise, size_t count,
                            int high) const {
        const Json* value = find(field);
        if (!value) return otherwise;
        if (value->kind != Json::array || value->items.empty() || value->items.size() > 64 ||
            (count && value->items.size() != count))
            fail_file(name_ + ": " + field + " must be a list of " +
                      (count ? std::to_string(count) + " " : "") + "whole numbers.");
        std::vector<int> numbers;
        for (const Json& item : value->items) numbers.push_back(integer(item, field, 1, high));
        return numbers;
    }

    std::string text(const char* field, const char* otherwise) const {
        const Json* value = find(field);
        if (!value) return otherwise;
        if (value->kind != Json::string) fail_file(name_ + ": " + field + " must be a string.");
        return value->text;
    }

    const std::string& name() const { return name_; }

 private:
    double number(const Json& value, const char* field, double low, double high) const {
        if (value.kind != Json::number || !(value.value >= low && value.value <= high))
            fail_file(name_ + ": " + field + " must be a number from " + short_text(low) + " to " +
                      short_text(high) + ".");
        return value.value;
    }

    int integer(const Json& value, const char* field, int low, int high) const {
        const double found = number(value, field, low, high);
        if (found != std::floor(found))
            fail_file(name_ + ": " + field + " must be a whole number.");
        return static_cast<int>(found);
    }

    static std::string short_text(double value) {
        std::string text = std::to_string(value);
        text.erase(text.find_last_not_of('0') + 1);
        if (!text.empty() && text.back() == '.') text.pop_back();
        return text;
    }

    const Json& json_;
    const std::string& name_;
};

Task read_task(const Fields& fields) {
    const Json* names = fields.find("architectures");
    if (!names)
        fail_unsupported(fields.name() +
                         " has no architectures, so the model's task is unknown; PyTorch infers "
                         "it from the weights. Add the name of the model class.");
    if (names->kind != Json::array || names->items.size() != 1 ||
        names->items[0].kind != Json::string)
        fail_file(fields.name() + ": architectures must be a list with one model class's name.");
    const std::string& name = names->items[0].text;
    if (name == "MobileViTV2ForImageClassification") return Task::classification;
    if (name == "MobileViTV2ForSemanticSegmentation") return Task::segmentation;
    if (name == "MobileViTV2ForObjectDetection") return Task::detection;
    if (name == "MobileViTV2Model") return Task::backbone;
    fail_unsupported(fields.name() + ": unknown model class " + name.substr(0, 80) + ".");
}

// The names of the classes in the order of the logits.
std::vector<std::string> read_labels(const Fields& fields) {
    const Json* found = fields.find("id2label");
    if (!found) return {};
    if (found->kind != Json::object) fail_file(fields.name() + ": id2label must be an object.");
    std::vector<std::string> labels(found->members.size());
    std::vector<bool> named(labels.size());
    for (const auto& [key, label] : found->members) {
        size_t index = 0;
        bool digits = !key.empty() && key.size() < 9;
        for (char c : key) digits = digits && c >= '0' && c <= '9';
        if (digits) index = static_cast<size_t>(std::stoul(key));
        if (!digits || index >= labels.size() || named[index] || label.kind != Json::string)
            fail_file(fields.name() +
                      ": id2label must name each of the classes 0, 1, 2, ... once.");
        labels[index] = label.text;
        named[index] = true;
    }
    return labels;
}

void refuse_unsupported(const Fields& fields) {
    const std::string act = fields.text("hidden_act", "swish");
    if (act != "swish" && act != "silu")
        fail_unsupported(fields.name() + ": the native engine has no activation " +
                         act.substr(0, 40) + ", only swish. Use PyTorch.");
    if (fields.whole("conv_kernel_size", 3, 1, 31) != 3)
        fail_unsupported(fields.name() +
                         ": the native engine has only 3x3 convolutions. Use PyTorch.");
    const Json* patch = fields.find("patch_size");
    const bool list = patch && patch->kind == Json::array;
    const std::vector<int> sides = list ? fields.wholes("patch_size", {}, 2, 64)
                                        : std::vector<int>(2, fields.whole("patch_size", 2, 1, 64));
    if (sides[0] != 2 || sides[1] != 2)
        fail_unsupported(fields.name() +
                         ": the native engine has only 2x2 patches. Use PyTorch.");
}

}  // namespace

int Config::stem_channels() const {
    return round_channels(std::min(std::max(32 * width, 16.0), 64.0), 8, 16);
}

std::vector<int> Config::stage_channels() const {
    std::vector<int> channels{round_channels(64 * width, 16, 16)};
    for (int base : {128, 256, 384, 512}) channels.push_back(round_channels(base * width, 8, 8));
    return channels;
}

std::vector<int> Config::dims() const {
    std::vector<int> dims;
    for (int base : base_dims) dims.push_back(round_channels(base * width, 8, 8));
    return dims;
}

int Config::widened(int channels) const {
    return round_channels(std::nearbyint(channels * expand_ratio), 8, 8);
}

int Config::hidden(int dim) const {
    return static_cast<int>(std::floor(ffn_multiplier * dim / 16) * 16);
}

int Config::pool_channels() const {
    const int even = stage_channels().back() / static_cast<int>(pool_scales.size());
    return std::max(even / 16 * 16, 16);
}

Config read_config(const Json& json, const std::string& name) {
    const Fields fields(json, name);
    const std::string type = fields.text("model_type", "mobilevitv2");
    if (type != "mobilevitv2")
        fail_file(name + ": expected model_type mobilevitv2, got " + type.substr(0, 40) + ".");
    refuse_unsupported(fields);
    Config config;
    config.task = read_task(fields);
    config.planes = fields.whole("num_channels", 3, 1, 4096);
    config.width = fields.real("width_multiplier", 1, 0.05, 16);
    config.expand_ratio = fields.real("expand_ratio", 2, 0.1, 64);
    config.ffn_multiplier = fields.real("ffn_multiplier", 2, 0.25, 64);
    config.eps = fields.real("layer_norm_eps", 1e-5, 0, 1);
    config.output_stride = fields.whole("output_stride", 32, 8, 32);
    if (config.output_stride != 8 && config.output_stride != 16 && config.output_stride != 32)
        fail_file(name + ": output_stride must be 8, 16 or 32.");
    config.blocks = fields.wholes("n_attn_blocks", {2, 4, 3}, 3, 1000);
    config.base_dims = fields.wholes("base_attn_unit_dims", {128, 192, 256}, 3, 65536);
    config.atrous_rates = fields.wholes("atrous_rates", {6, 12, 18}, 3, 1024);
    config.pool_scales = fields.wholes("pool_scales", {1, 2, 3, 6}, 0, 1024);
    int64_t cells = 0;
    for (int side : config.pool_scales) cells += int64_t{side} * side;
    if (cells > 65536)
        fail_unsupported(
            name + ": pool_scales make more than 65536 cells, too many for the native engine.");
    config.head_channels = fields.whole("aspp_out_channels", 512, 1, 65536);
    const std::string head = fields.text("segmentation_head", "deeplabv3");
    if (head != "deeplabv3" && head != "pspnet")
        fail_file(name + ": segmentation_head must be deeplabv3 or pspnet, got " +
                  head.substr(0, 40) + ".");
    config.pspnet = head == "pspnet";
    config.problem_type = fields.text("problem_type", "");
    if (!config.problem_type.empty() && config.problem_type != "regression" &&
        config.problem_type != "single_label_classification" &&
        config.problem_type != "multi_label_classification")
        fail_file(name +
                  ": problem_type must be regression, single_label_classification or "
                  "multi_label_classification, got " +
                  config.problem_type.substr(0, 40) + ".");
    config.labels = read_labels(fields);
    config.classes = static_cast<int>(config.labels.size());
    if (!fields.find("id2label")) {
        config.classes = fields.whole("num_labels", 2, 0, 100000);
        for (int i = 0; i < config.classes; i++)
            config.labels.push_back("LABEL_" + std::to_string(i));
    }
    if (config.task != Task::backbone && config.classes == 0)
        fail_unsupported(name + " has no classes, so it can't name what is in an image.");
    if (config.task == Task::detection && config.output_stride != 32)
        fail_file(name + ": a detector's output_stride must be 32.");
    return config;
}

}  // namespace mv2
