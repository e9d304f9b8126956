/* Asks flags through OpenFeature's Java SDK and its OFREP provider.
 *
 *     java -cp 'lib/*' OpenFeatureJava.java URL TOKEN < questions > answers
 *
 * A question is {"type", "key", "default", "context"}, an answer the SDK's evaluation details; both in JSON lists.
 */
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.common.collect.ImmutableList;
import com.google.common.collect.ImmutableMap;
import dev.openfeature.contrib.providers.ofrep.OfrepProvider;
import dev.openfeature.contrib.providers.ofrep.OfrepProviderOptions;
import dev.openfeature.sdk.Client;
import dev.openfeature.sdk.FlagEvaluationDetails;
import dev.openfeature.sdk.ImmutableContext;
import dev.openfeature.sdk.OpenFeatureAPI;
import dev.openfeature.sdk.Structure;
import dev.openfeature.sdk.Value;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

public class OpenFeatureJava {
    private static final ObjectMapper JSON = new ObjectMapper();

    @SuppressWarnings("unchecked")
    private static ImmutableContext context(Map<String, Object> given) {
        Map<String, Value> attributes = new HashMap<>();
        given.forEach((name, value) -> attributes.put(name, Value.objectToValue(value)));
        Value user = attributes.remove("targetingKey");
        return user == null ? new ImmutableContext(attributes) : new ImmutableContext(user.asString(), attributes);
    }

    @SuppressWarnings("unchecked")
    private static FlagEvaluationDetails<?> ask(Client client, Map<String, Object> question) {
        String key = (String) question.get("key");
        Object otherwise = question.get("default");
        ImmutableContext context = context((Map<String, Object>) question.get("context"));
        return switch ((String) question.get("type")) {
            case "boolean" -> client.getBooleanDetails(key, (Boolean) otherwise, context);
            case "string" -> client.getStringDetails(key, (String) otherwise, context);
            case "integer" -> client.getIntegerDetails(key, ((Number) otherwise).intValue(), context);
            case "float" -> client.getDoubleDetails(key, ((Number) otherwise).doubleValue(), context);
            default -> client.getObjectDetails(
                    key, new Value(Structure.mapToStructure((Map<String, Object>) otherwise)), context);
        };
    }

    private static Object plain(Object value) {
        return value instanceof Value wrapped ? wrapped.asStructure().asObjectMap() : value;
    }

    public static void main(String[] arguments) throws Exception {
        OfrepProviderOptions options = OfrepProviderOptions.builder()
                .baseUrl(arguments[0])
                .headers(ImmutableMap.of("Authorization", ImmutableList.of("Bearer " + arguments[1])))
                .build();
        OpenFeatureAPI.getInstance().setProviderAndWait(OfrepProvider.constructProvider(options));
        Client client = OpenFeatureAPI.getInstance().getClient();
        List<Object> answers = new ArrayList<>();
        for (Object question : JSON.readValue(System.in, List.class)) {
            @SuppressWarnings("unchecked")
            FlagEvaluationDetails<?> details = ask(client, (Map<String, Object>) question);
            Map<String, Object> answer = new HashMap<>();
            answer.put("value", plain(details.getValue()));
            answer.put("variant", details.getVariant());
            answer.put("reason", details.getReason());
            answer.put("errorCode", details.getErrorCode());
            answer.put("errorMessage", details.getErrorMessage());
            answers.add(answer);
        }
        System.out.println(JSON.writeValueAsString(answers));
        OpenFeatureAPI.getInstance().shutdown();
    }
}
